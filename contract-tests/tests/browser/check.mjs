// Checks all pages of the stores whose addresses are the arguments. Prints JSON: { faults: [...], seconds: {...} }.
// $NODE_TOOLS is the directory of tools/install, $SCREENSHOTS that of the screenshots.
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { Faults, launch } from "./browser.mjs";
import { checkDocs } from "./docs.mjs";
import { checkProblems } from "./problems.mjs";
import { checkReference } from "./reference.mjs";

const directory = process.env.SCREENSHOTS;
mkdirSync(directory, { recursive: true });

const faults = [];
const seconds = {};

// All pages concurrently, each in its own browser, so that they share no storage.
await Promise.all(
  process.argv.slice(2).map(async (origin, index) => {
    const browser = await launch();
    // Screenshots of one store are enough.
    const screenshot = async (page, name, at) => {
      if (index > 0) return;
      if (at) await at.evaluate((element) => element.scrollIntoView());
      await page.screenshot({ path: join(directory, `${name}.png`) });
    };
    for (const [name, check] of Object.entries({ checkDocs, checkReference, checkProblems })) {
      const found = new Faults();
      const start = Date.now();
      try {
        await check({ browser, origin, faults: found, screenshot });
      } catch (error) {
        found.add(`the check failed: ${error.message}`);
      }
      seconds[`${name}, store ${index + 1}`] = (Date.now() - start) / 1000;
      faults.push(...found.all.map((text) => `${origin}: ${text}`));
    }
    await browser.close();
  }),
);
console.log(JSON.stringify({ faults, seconds }));
