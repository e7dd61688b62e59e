// Starts Chromium, and opens pages that record faults: requests to other hosts, errors and warnings.
import { accessSync, constants } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";

// The npm packages of tools/install.
export const tools = createRequire(join(process.env.NODE_TOOLS, "package.json"));
const { chromium } = tools("playwright-core");

/** The time limit for an expected condition, in milliseconds. */
export const PATIENCE = 30_000;

/** The window sizes of a desktop and of a phone. */
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
    : names.flatMap((name) => process.env.PATH.split(delimiter).map((directory) => join(directory, name)));
  const found = places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) throw new Error(`expected Chromium or Chrome as ${process.env.CHROMIUM ?? names.join(", ")}; run tools/install, or set $CHROMIUM to its path`);
  return found;
}

export function launch() {
  return chromium.launch({
    executablePath: findChromium(),
    args: [
      // As root and in containers, Chromium has no sandbox; it opens only our own pages.
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      // Requests to other hosts fail, as without a network.
      "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    ],
  });
}

/** The faults, each with its page and step. */
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

/** Opens a page in its own browser context. A request to another origin, and each error or warning of the browser, is a fault. */
export async function openPage(browser, origin, faults, { viewport, colorScheme = "light" }) {
  const context = await browser.newContext({ viewport, colorScheme, permissions: ["clipboard-read", "clipboard-write"] });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const requests = [];
  page.on("request", (request) => {
    requests.push(request.url());
    const url = new URL(request.url());
    // `data:` and `blob:` URLs are part of the page.
    if (url.protocol !== "data:" && url.protocol !== "blob:" && url.origin !== origin) faults.add(`a request to another host: ${request.url().slice(0, 200)}`);
  });
  page.on("websocket", (socket) => faults.add(`a connection that is not a request: ${socket.url()}`));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") faults.add(`the console has the ${message.type()} "${message.text().slice(0, 300)}"`);
  });
  page.on("pageerror", (error) => faults.add(`an uncaught exception: ${error.message}`));
  page.on("requestfailed", (request) => {
    // Chromium aborts the requests of a page when it opens another one.
    const why = request.failure()?.errorText;
    if (why !== "net::ERR_ABORTED") faults.add(`a request that failed: ${request.url().slice(0, 200)} (${why})`);
  });
  return { page, requests, close: () => context.close() };
}

/** Loads a page and checks the status and the policy of its response. */
export async function load(page, url, csp, faults) {
  const response = await page.goto(url, { waitUntil: "load" });
  faults.expect(response.status() === 200, `expected 200, got ${response.status()}`);
  const found = response.headers()["content-security-policy"];
  faults.expect(found === csp, `expected the Content-Security-Policy "${csp}", got "${found}"`);
}

/** Waits until `check` returns a truthy value, and returns it. After the time limit, adds a fault and returns `undefined`. */
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

/** Returns the text without Markdown's marks and line breaks. */
export function plain(text) {
  return text.replaceAll(/[`*\u200b]/g, "").replaceAll(/\s+/g, " ").trim();
}
