// Takes a picture of the operations in /docs.
import { launch } from "../contract-tests/tests/browser/browser.mjs";

const [origin, file] = process.argv.slice(2);
const browser = await launch();
const page = await browser.newPage({ viewport: { width: 960, height: 1000 } });
await page.goto(`${origin}/docs`);
const orders = page.locator("#operations-tag-OrderManager");
await orders.waitFor();
const top = await page.locator("#operations-tag-UserManager").boundingBox();
const bottom = await page.locator(".opblock").last().boundingBox();
const clip = { x: 0, y: top.y - 8, width: 960, height: bottom.y + bottom.height - top.y + 24 };
await page.screenshot({ path: file, clip, fullPage: true });
await browser.close();
