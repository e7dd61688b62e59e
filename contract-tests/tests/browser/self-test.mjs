// Runs the checks on pages with known faults, and prints the reported faults as JSON: { PAGE: [faults] }. It proves that each check can fail.
import { createServer } from "node:http";

import { CSP, Faults, PHONE, eventually, launch, load, openPage } from "./browser.mjs";
import { accessible, fitsPhone } from "./readable.mjs";

const body = (content) => `<!doctype html><html lang="en"><head><title>A page</title><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"></head><body><main>${content}</main></body></html>`;
const unbound = { csp: "" };

/** The pages, each with one fault. */
const PAGES = {
  good: { html: body("<h1>All is well</h1>") },
  "foreign picture": { ...unbound, html: body('<h1>x</h1><img alt="a picture" src="http://cdn.example/picture.png">') },
  "foreign request": { ...unbound, html: body('<h1>x</h1><script>fetch("http://telemetry.example/beat").catch(() => {})</script>') },
  "other port": { ...unbound, html: body('<h1>x</h1><script>fetch("http://127.0.0.1:9/").catch(() => {})</script>') },
  "foreign socket": { ...unbound, html: body('<h1>x</h1><script>new WebSocket("ws://agent.example/")</script>') },
  "console error": { ...unbound, html: body('<h1>x</h1><script>console.error("broken")</script>') },
  "console warning": { ...unbound, html: body('<h1>x</h1><script>console.warn("deprecated")</script>') },
  exception: { ...unbound, html: body("<h1>x</h1><script>throw new Error('uncaught')</script>") },
  "inline script": { html: body("<h1>x</h1><script>document.title = 1</script>") },
  "missing file": { html: body('<h1>x</h1><img alt="a picture" src="/missing.png">') },
  "no policy": { ...unbound, expectCsp: true, html: body("<h1>x</h1>") },
  "wider policy": { csp: `${CSP} *`, expectCsp: true, html: body("<h1>x</h1>") },
  "not found": { status: 404, html: body("<h1>x</h1>") },
  "too wide": { ...unbound, html: body('<h1>x</h1><div style="width: 800px">wide</div>') },
  "small letters": { ...unbound, html: body('<h1>x</h1><p style="font-size: 9px">small print</p>') },
  "tiny button": { ...unbound, html: body('<h1>x</h1><button style="width: 10px; height: 10px; padding: 0; display: block" aria-label="x"></button>') },
  "low contrast": { ...unbound, html: body('<h1>x</h1><p style="color: #aaa">pale</p>') },
  "nameless control": { ...unbound, html: body("<h1>x</h1><select><option>1</option></select>") },
};

const server = createServer((request, response) => {
  const page = PAGES[decodeURIComponent(request.url.slice(1))];
  if (!page) return response.writeHead(404).end();
  const csp = page.csp ?? CSP;
  return response.writeHead(page.status ?? 200, { "content-type": "text/html", ...(csp && { "content-security-policy": csp }) }).end(page.html);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const origin = `http://127.0.0.1:${server.address().port}`;
const browser = await launch();
const reported = {};
for (const [name, { csp, expectCsp }] of Object.entries(PAGES)) {
  const faults = new Faults();
  faults.step = name;
  const { page, close } = await openPage(browser, origin, faults, { viewport: PHONE });
  // Pages without a policy test something else, so their policy is not checked.
  if (csp === "" && !expectCsp) await page.goto(`${origin}/${encodeURIComponent(name)}`, { waitUntil: "load" });
  else await load(page, `${origin}/${encodeURIComponent(name)}`, CSP, faults);
  await fitsPhone(page, faults);
  await accessible(page, faults);
  // Faults in the background are reported a moment later; a page without faults has none to wait for.
  if (name !== "good") await eventually(faults, "a fault", () => faults.all.length > 0);
  await close();
  reported[name] = faults.all;
}
await browser.close();
server.close();
console.log(JSON.stringify(reported));
