// /docs: shows everything of the document, and sends requests.
import { CSP, DESK, PHONE, eventually, load, openPage, plain } from "./browser.mjs";
import { readDocument } from "./document.mjs";
import { accessible, fitsPhone } from "./readable.mjs";

const block = (page, operation) => page.locator(`#operations-${operation.tag}-${operation.id}`);

export async function checkDocs({ browser, origin, faults, screenshot }) {
  const document = await readDocument(origin);
  faults.step = "/docs on a desk";
  const { page, requests, close } = await openPage(browser, origin, faults, { viewport: DESK });
  await open(page, `${origin}/docs`, document, faults);
  faults.expect(requests.some((url) => url === `${origin}/openapi.yaml`), "the page did not ask for /openapi.yaml");
  await screenshot(page, "docs-1280");
  await accessible(page, faults);
  await readable(page, document, faults);
  const order = document.operations.find(({ id }) => id === "place_order");
  await showOperation(page, order);
  await accessible(page, faults);
  await screenshot(page, "docs-operation-1280", block(page, order));

  faults.step = "/docs, tried out";
  await tryOut(page, origin, document, faults, screenshot);
  await links(page, origin, document, faults);
  await close();

  faults.step = "/docs in the dark";
  await dark(browser, origin, document, faults, screenshot);

  faults.step = "/docs on a phone";
  const phone = await openPage(browser, origin, faults, { viewport: PHONE });
  await open(phone.page, `${origin}/docs`, document, faults);
  await fitsPhone(phone.page, faults);
  await screenshot(phone.page, "docs-390");
  for (const operation of document.operations) await showOperation(phone.page, operation);
  await fitsPhone(phone.page, faults);
  await screenshot(phone.page, "docs-operation-390", block(phone.page, order));
  await phone.page.locator(".btn.authorize").click();
  await phone.page.locator(".modal-ux input").waitFor();
  await fitsPhone(phone.page, faults);
  await screenshot(phone.page, "docs-authorize-390");
  await phone.close();
}

async function open(page, url, document, faults) {
  await load(page, url, CSP, faults);
  await eventually(faults, `${document.operations.length} operations`, async () => (await page.locator(".opblock").count()) === document.operations.length);
}

/** Expands a collapsed operation. */
async function showOperation(page, operation) {
  const there = block(page, operation);
  if ((await there.locator(".opblock-body").count()) === 0) await there.locator(".opblock-summary-control").click();
  await there.locator(".responses-inner").waitFor();
  return there;
}

/** Checks that the page shows all tags, operations, descriptions, parameters, examples and samples. */
async function readable(page, document, faults) {
  faults.expect((await page.locator(".info .title").innerText()).includes(document.title), `the title is not ${document.title}`);
  for (const tag of document.tags) {
    const section = page.locator(`#operations-tag-${tag.name}`);
    faults.expect((await section.count()) === 1 && (await section.isVisible()), `the page does not show the tag ${tag.name}`);
    const text = plain(await section.innerText());
    faults.expect(text.includes(plain(tag.description)), `the tag ${tag.name} is not described: "${text}"`);
  }
  for (const operation of document.operations) {
    const there = await showOperation(page, operation);
    const text = plain(await there.innerText());
    const name = `${operation.method.toUpperCase()} ${operation.path}`;
    const expected = [operation.method.toUpperCase(), operation.path, operation.summary, operation.description, ...operation.parameters, ...operation.responses.flatMap(({ status, description }) => [status, description])];
    for (const part of expected) faults.expect(text.includes(plain(part)), `${name} does not show "${plain(part)}"`);
    if (operation.hasBody) faults.expect((await there.locator(".body-param__text").inputValue()).startsWith("{"), `${name} has no body filled in`);
    const examples = there.locator("tr.response pre.example");
    const wanted = operation.responses.filter(({ hasContent }) => hasContent).length;
    const shown = (await examples.allInnerTexts()).filter((example) => example.trim().startsWith("{")).length;
    faults.expect(shown === wanted, `${name} shows ${shown} examples of responses, expected ${wanted}`);
    await sample(page, there, name, operation, faults);
    await there.locator(".opblock-summary-control").click();
  }
}

/** Checks that the sample has the address of this store, and that the button copies it. */
async function sample(page, there, name, operation, faults) {
  const code = there.locator(".sample-code");
  if ((await code.count()) !== 1 || !(await code.isVisible())) {
    faults.add(`${name} shows no sample`);
    return;
  }
  const text = await code.innerText();
  faults.expect(text === operation.sample, `${name} shows the sample "${text}", expected "${operation.sample}"`);
  await there.locator(".sample-copy").click();
  await eventually(faults, `the sample of ${name} in the clipboard`, async () => (await page.evaluate(() => navigator.clipboard.readText())) === operation.sample);
}

/** Logs in and places an order in the page, which authorizes itself and keeps the token after a reload. */
async function tryOut(page, origin, document, faults, screenshot) {
  const byId = (id) => document.operations.find((operation) => operation.id === id);
  const word = `b${Date.now().toString(36)}`;
  const password = "correct horse battery staple";
  const registered = await fetch(`${origin}/users`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ sid: word, username: word, email: `${word}@example.com`, password }),
  });
  faults.expect(registered.status === 201, `expected 201 for a new buyer, got ${registered.status}`);

  await page.reload();
  await page.locator(".opblock").first().waitFor();
  const logIn = await showOperation(page, byId("log_in"));
  await logIn.locator(".body-param__text").fill(JSON.stringify({ username: word, password }));
  await logIn.locator(".btn.execute").click();
  const answer = await answerOf(logIn, faults, "200", "log-in");
  const token = answer && JSON.parse(answer).access_token;
  faults.expect(token, "the answer to log-in has no access_token that can be read in the page");

  await page.locator(".btn.authorize").click();
  await logOutButton(page).waitFor();
  await accessible(page, faults);
  await screenshot(page, "docs-authorize-1280");
  await page.locator(".modal-ux .btn.btn-done").click();

  for (const [key, when] of [["before", "after the log-in"], ["after", "after the page was loaded again"]]) {
    const order = await showOperation(page, byId("place_order"));
    await order.locator("tr[data-param-name=Idempotency-Key] input").fill(`${word}-${key}`);
    await order.locator(".btn.execute").click();
    const placed = await answerOf(order, faults, "201", `an order, ${when}`);
    faults.expect(placed && JSON.parse(placed).status === "placed", `the response to the order is "${placed}"`);
    await screenshot(page, "docs-answer-1280", order.locator(".responses-inner"));
    await page.reload();
    await page.locator(".opblock").first().waitFor();
  }
}

/** Waits for the response in the page, and returns its body. */
async function answerOf(operation, faults, status, what) {
  const row = operation.locator(".live-responses-table tr.response").first();
  await row.waitFor();
  const found = (await row.locator(".response-col_status").innerText()).trim().split(/\s/)[0];
  faults.expect(found === status, `expected ${status} for ${what}, the page shows ${found}`);
  return row.locator(".response-col_description .highlight-code pre, .response-col_description pre.microlight").first().innerText();
}

/** Checks that a link opens its operation: in the address bar, in the page, and with Back. */
async function links(page, origin, document, faults) {
  faults.step = "/docs, by its links";
  const isOpen = (operation) => async () => (await block(page, operation).locator(".opblock-body").count()) === 1;
  const [first, second] = ["place_order", "register"].map((id) => document.operations.find((operation) => operation.id === id));
  // From another page, so that the browser loads it.
  await page.goto(`${origin}/problems`);
  await open(page, `${origin}/docs#/${first.tag}/${first.id}`, document, faults);
  await eventually(faults, `${first.id} opened by the address`, isOpen(first));
  await page.locator(`.start a[href="#/${second.tag}/${second.id}"]`).click();
  await eventually(faults, `${second.id} opened by the link`, isOpen(second));
  await page.locator("#authorize").click();
  await logOutButton(page).waitFor();
  await page.locator(".modal-ux .btn.btn-done").click();

  const logOut = await showOperation(page, document.operations.find(({ id }) => id === "log_out"));
  await logOut.locator(".btn.execute").click();
  await logOut.locator(".live-responses-table tr.response").first().waitFor();
  await page.locator("#authorize").click();
  await page.locator(".modal-ux input").waitFor();
}

/** Returns the button that removes the token; it does not exist without a token. */
function logOutButton(page) {
  return page.locator(".modal-ux .auth-btn-wrapper").getByText("Logout");
}

/** Checks the dark colors of the page. */
async function dark(browser, origin, document, faults, screenshot) {
  const { page, close } = await openPage(browser, origin, faults, { viewport: DESK, colorScheme: "dark" });
  await open(page, `${origin}/docs`, document, faults);
  const background = await page.evaluate(() => getComputedStyle(globalThis.document.body).backgroundColor);
  faults.expect(background === "rgb(28, 32, 34)", `the background is ${background}, expected that of Swagger UI's dark mode`);
  for (const operation of document.operations) await showOperation(page, operation);
  await accessible(page, faults);
  await screenshot(page, "docs-dark-1280");
  await page.emulateMedia({ colorScheme: "light" });
  await eventually(faults, "light colors once the system asks for them", () => page.evaluate(() => !globalThis.document.documentElement.classList.contains("dark-mode")));
  await close();
}
