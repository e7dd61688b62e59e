// Chromium, and a page in it that writes down everything that must not happen: requests to other hosts, errors and warnings.
import { accessSync, constants } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";

// What tools/install has installed.
export const tools = createRequire(join(process.env.NODE_TOOLS, "package.json"));
const { chromium } = tools("playwright-core");

/** How long anything may take that has to happen at some time, in milliseconds. */
export const PATIENCE = 30_000;

/** The size of a desk's and of a phone's window. */
export const DESK = { width: 1280, height: 900 };
export const PHONE = { width: 390, height: 844 };

/** The Content-Security-Policy of the store's pages; /reference also allows inline styles. */
export const CSP =
  "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:" +
  "; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

// As `find_chromium` in tools/lib.sh.
function findChromium() {
  const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  const places = process.env.CHROMIUM
    ? [process.env.CHROMIUM]
    : names.flatMap((name) => process.env.PATH.split(delimiter).map((folder) => join(folder, name)));
  const found = places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) throw new Error(`expected Chromium or Chrome as ${process.env.CHROMIUM ?? names.join(", ")}; run tools/install, or say in $CHROMIUM where it is`);
  return found;
}

export function launch() {
  return chromium.launch({
    executablePath: findChromium(),
    args: [
      // As root, and in containers, Chromium has no sandbox; it sees nothing but our own pages.
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      // Only this machine exists: what a page wants from elsewhere it does not get, as on a train.
      "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    ],
  });
}

/** What was found to be wrong, each with the page and the step that it was found in. */
export class Faults {
  all = [];
  step = "";

  add(text) {
    this.all.push(`${this.step}: ${text}`);
  }

  /** Adds a fault unless the condition holds. */
  expect(condition, text) {
    if (!condition) this.add(text);
  }
}

/** A page in a window of its own, with no memory of others. Everything it asks for from elsewhere than `origin`, and every complaint of the browser, is a fault. */
export async function openPage(browser, origin, faults, { viewport, colorScheme = "light" }) {
  const context = await browser.newContext({ viewport, colorScheme, permissions: ["clipboard-read", "clipboard-write"] });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const requests = [];
  page.on("request", (request) => {
    requests.push(request.url());
    const url = new URL(request.url());
    // `data:` and `blob:` are in the page already.
    if (url.protocol !== "data:" && url.protocol !== "blob:" && url.origin !== origin) faults.add(`a request to another host: ${request.url().slice(0, 200)}`);
  });
  page.on("websocket", (socket) => faults.add(`a connection that is no request: ${socket.url()}`));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") faults.add(`the console has the ${message.type()} "${message.text().slice(0, 300)}"`);
  });
  page.on("pageerror", (error) => faults.add(`an exception that nobody caught: ${error.message}`));
  page.on("requestfailed", (request) => {
    // What the reader leaves behind by going on to another page is given up.
    const why = request.failure()?.errorText;
    if (why !== "net::ERR_ABORTED") faults.add(`a request that failed: ${request.url().slice(0, 200)} (${why})`);
  });
  return { page, requests, close: () => context.close() };
}

/** Loads a page and holds its answer against what it has to be. */
export async function load(page, url, csp, faults) {
  const response = await page.goto(url, { waitUntil: "load" });
  faults.expect(response.status() === 200, `expected 200, came ${response.status()}`);
  const found = response.headers()["content-security-policy"];
  faults.expect(found === csp, `expected the Content-Security-Policy "${csp}", came "${found}"`);
}

/** Waits until `check` gives something that is true, and gives it; a fault, and `undefined`, if that does not happen in time. */
export async function eventually(faults, what, check) {
  const deadline = Date.now() + PATIENCE;
  while (Date.now() < deadline) {
    const found = await check();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  faults.add(`expected ${what}; it did not come in ${PATIENCE / 1000} s`);
  return undefined;
}

/** Text as a reader sees it: Markdown's marks and the breaks of lines do not count. */
export function plain(text) {
  return text.replaceAll(/[`*\u200b]/g, "").replaceAll(/\s+/g, " ").trim();
}
