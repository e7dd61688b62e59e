// /reference: shows everything of the document.
import { DESK, PHONE, eventually, load, openPage, plain } from "./browser.mjs";
import { readDocument } from "./document.mjs";
import { accessible, fitsPhone } from "./readable.mjs";

const CSP =
  "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:" +
  "; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

export async function checkReference({ browser, origin, faults, screenshot }) {
  const document = await readDocument(origin);
  faults.step = "/reference on a desk";
  const desk = await openPage(browser, origin, faults, { viewport: DESK });
  await open(desk.page, origin, document, faults);
  await screenshot(desk.page, "reference-1280");
  await accessible(desk.page, faults);
  await readable(desk.page, origin, document, faults);
  const order = document.operations.find(({ id }) => id === "place_order");
  await toOperation(desk.page, order);
  await accessible(desk.page, faults);
  await screenshot(desk.page, "reference-operation-1280");
  await leadsNowhereElse(desk.page, faults);
  await desk.close();

  faults.step = "/reference in the dark";
  const dark = await openPage(browser, origin, faults, { viewport: DESK, colorScheme: "dark" });
  await open(dark.page, origin, document, faults);
  faults.expect(await dark.page.evaluate(() => document.body.classList.contains("dark-mode")), "the page is light, though the reader wants it dark");
  await accessible(dark.page, faults);
  await readAll(dark.page, document, faults);
  await toOperation(dark.page, order);
  await screenshot(dark.page, "reference-dark-1280");
  await dark.close();

  faults.step = "/reference on a phone";
  const phone = await openPage(browser, origin, faults, { viewport: PHONE });
  await open(phone.page, origin, document, faults);
  await screenshot(phone.page, "reference-390");
  await readAll(phone.page, document, faults);
  await fitsPhone(phone.page, faults);
  await toOperation(phone.page, order);
  await fitsPhone(phone.page, faults);
  await screenshot(phone.page, "reference-operation-390");
  await phone.close();
}

async function open(page, origin, document, faults) {
  await load(page, `${origin}/reference`, CSP, faults);
  await page.getByRole("heading", { name: document.title, exact: true }).waitFor();
}

/** Scrolls through the page, which renders only the parts near the window. */
async function readAll(page, document, faults) {
  const wanted = [...document.tags.map(({ name }) => name), ...document.operations.map(({ summary }) => summary)];
  await eventually(faults, `headings for ${wanted.join(", ")}`, async () => {
    await page.mouse.wheel(0, 400);
    const there = (await page.locator("h1, h2, h3").allInnerTexts()).map(plain);
    return wanted.every((heading) => there.includes(heading));
  });
}

async function toOperation(page, operation) {
  await page.getByRole("heading", { name: operation.summary, exact: true }).first().evaluate((heading) => heading.scrollIntoView({ block: "start" }));
  // The layout changes for a moment after each step.
  await page.waitForFunction(
    (summary) => {
      const heading = [...document.querySelectorAll("h3")].find((one) => one.innerText.trim() === summary);
      const top = heading.getBoundingClientRect().top;
      if (top >= 0 && top < innerHeight / 2) return true;
      heading.scrollIntoView({ block: "center" });
      return false;
    },
    operation.summary,
    { polling: 200 },
  );
}

async function readable(page, origin, document, faults) {
  await readAll(page, document, faults);
  const text = plain(await page.locator("#reference").innerText());
  for (const tag of document.tags) {
    faults.expect(await page.getByRole("heading", { name: tag.name, exact: true }).first().isVisible(), `the tag ${tag.name} has no heading`);
    faults.expect(text.includes(plain(tag.description)), `the tag ${tag.name} is not described`);
  }
  const codes = (await page.locator("#reference pre").evaluateAll((all) => all.map((one) => one.textContent))).map(squeezed);
  for (const operation of document.operations) {
    const name = `${operation.method.toUpperCase()} ${operation.path}`;
    faults.expect(text.includes(operation.path), `${name} does not show its path`);
    for (const paragraph of operation.description.trim().split("\n\n")) faults.expect(text.includes(plain(paragraph)), `${name} is not described: "${plain(paragraph)}"`);
    for (const parameter of operation.parameters) faults.expect(text.includes(parameter), `${name} does not show the parameter ${parameter}`);
    faults.expect(codes.includes(squeezed(operation.sample)), `${name} does not show its sample`);
  }
  faults.expect(codes.some((code) => code.startsWith('{"')), "no example of an answer is shown");
}

/** Returns code without blanks: highlighting splits it and numbers its lines. */
function squeezed(code) {
  return code.replaceAll(/\s+/g, "");
}

/** Checks that only links of the document lead to other hosts. */
async function leadsNowhereElse(page, faults) {
  const found = await page.locator("a[href]").evaluateAll((links) => links.filter((link) => link.checkVisibility() && link.origin !== location.origin).map((link) => link.href));
  for (const href of found) {
    faults.expect(/^https:\/\/www\.(sustech\.edu\.cn|apache\.org)\//.test(href), `a link to another host that is not in the document: ${href}`);
  }
  for (const words of ["Ask AI", "Open API Client", "Test Request", "MCP", "Powered by"]) {
    faults.expect((await page.getByText(words).filter({ visible: true }).count()) === 0, `"${words}" is offered`);
  }
}
