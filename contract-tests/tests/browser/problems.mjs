// /problems: shows every problem, in light and dark colors.
import { CSP, DESK, PHONE, load, openPage } from "./browser.mjs";
import { accessible, fitsPhone } from "./readable.mjs";

export async function checkProblems({ browser, origin, faults, screenshot }) {
  for (const [name, options] of Object.entries({ 1280: { viewport: DESK }, 390: { viewport: PHONE }, "dark-1280": { viewport: DESK, colorScheme: "dark" } })) {
    faults.step = `/problems, ${name}`;
    const { page, close } = await openPage(browser, origin, faults, options);
    await load(page, `${origin}/problems#out_of_stock`, CSP, faults);
    faults.expect((await page.locator("section[id] h2").count()) >= 20, "fewer than 20 kinds of problems are there");
    faults.expect(await page.locator("#out_of_stock").isVisible(), "out_of_stock has no place that a link can lead to");
    await fitsPhone(page, faults);
    await accessible(page, faults);
    await screenshot(page, `problems-${name}`);
    await close();
  }
}
