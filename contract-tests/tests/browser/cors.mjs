// A page on another origin with the TypeScript client. Arguments: a store, an origin that it allows, one that it does not
// allow, and a store that allows every origin. Prints JSON: { faults: [...], steps: 0 }.
import { Faults, PATIENCE, launch } from "./browser.mjs";

const [store, allowed, other, open] = process.argv.slice(2);
const faults = new Faults();
let steps = 0;

/** Opens a page on an origin, and calls operations there with the generated client. */
async function shop(browser, origin) {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.goto(`${origin}/shop.html`, { waitUntil: "load" });
  const call = (url, operation, token, places = {}) => {
    steps += 1;
    faults.step = `${operation} of ${url} from ${origin}`;
    return page.evaluate(
      async ({ url, operation, token, places: { path = {}, query = {}, header = {}, body = {} } }) => {
        const { call, Arguments } = await import("/js/call.js");
        try {
          const { status, headers, data, problem } = await call(url, operation, token, new Arguments(path, query, header, body));
          return { status, headers: Object.fromEntries(headers), data, problem };
        } catch (error) {
          return { failed: `${error.name}: ${error.message}` };
        }
      },
      { url, operation, token, places },
    );
  };
  return { page, call };
}

/** Checks an outcome; the script must be able to read `headers`. */
function expect(outcome, status, headers = [], code = undefined) {
  faults.expect(outcome.status === status, `expected ${status}, got ${JSON.stringify(outcome)}`);
  faults.expect(outcome.problem?.code === code, `expected the code ${code}, got ${JSON.stringify(outcome.problem)}`);
  for (const name of ["x-request-id", ...headers]) {
    faults.expect(outcome.headers?.[name], `expected the script to read ${name}, got ${JSON.stringify(outcome.headers)}`);
  }
}

const registration = { sid: "12110333", username: "cora", email: "cora@example.com", password: "a horse of another origin" };
const credentials = { username: registration.username, password: registration.password };

async function buyAndLeave(browser) {
  const { page, call } = await shop(browser, allowed);
  const preflights = [];
  const session = await page.context().newCDPSession(page);
  session.on("Network.requestWillBeSent", ({ request }) => {
    if (request.method === "OPTIONS") preflights.push(request.url);
  });
  await session.send("Network.enable");

  const user = await call(store, "register", undefined, { body: registration });
  expect(user, 201, ["location", "etag"]);
  const path = { user_id: user.data.id };
  const { data, ...logIn } = await call(store, "log_in", undefined, { body: credentials });
  expect(logIn, 200);
  const token = data.access_token;

  expect(await call(store, "greet"), 200);
  const product = await call(store, "get_product", undefined, { path: { product_id: 1 } });
  expect(product, 200, ["etag"]);
  const unchanged = { path: { product_id: 1 }, header: { "If-None-Match": product.headers.etag } };
  expect(await call(store, "get_product", undefined, unchanged), 304, ["etag"]);

  const order = { header: { "Idempotency-Key": "of-another-origin" }, body: { product_id: 1, quantity: 2 } };
  const placed = await call(store, "place_order", token, order);
  expect(placed, 201, ["location"]);
  const replayed = await call(store, "place_order", token, order);
  expect(replayed, 201, ["location"]);
  faults.expect(replayed.data.id === placed.data.id, "the same key gave another order");
  const cancel = { path: { order_id: placed.data.id } };
  expect(await call(store, "cancel_order", token, cancel), 200);

  // The browser caches the response to a preflight for all methods of a URL: four requests, one preflight.
  for (let times = 0; times < 2; times += 1) expect(await call(store, "list_orders", token), 200);
  const asked = preflights.filter((url) => url === `${store}/orders`).length;
  faults.expect(asked === 1, `expected one preflight for ${store}/orders, got ${JSON.stringify(preflights)}`);

  const changed = { path, header: { "If-Match": user.headers.etag }, body: { email: "cora@shop.example" } };
  expect(await call(store, "update_user", token, changed), 200, ["etag"]);
  expect(await call(store, "update_user", token, changed), 412, [], "version_mismatch");
  const passwords = { current_password: registration.password, new_password: "another horse of another origin" };
  expect(await call(store, "change_password", token, { path, body: passwords }), 204);

  // The script can read problems, too, of the middleware as well as of operations.
  expect(await call(store, "list_orders", token), 401, [], "token_invalid");
  expect(await call(store, "list_orders", undefined), 401, [], "token_missing");
  expect(await call(store, "get_product", undefined, { path: { product_id: 999 } }), 404, [], "product_not_found");
  expect(await call(store, "list_products", undefined, { query: { limit: 0 } }), 400, [], "invalid_request");
  expect(await call(`${store}/nowhere`, "list_products"), 404, [], "route_not_found");
  const large = { body: { ...credentials, password: "x".repeat(100_000) } };
  expect(await call(store, "log_in", undefined, large), 413, [], "body_too_large");
  let refused;
  for (let times = 0; times < 10 && refused?.status !== 429; times += 1) refused = await call(store, "log_in", undefined, { body: credentials });
  expect(refused, 429, ["retry-after"], "too_many_attempts");
  await page.close();
}

async function fromElsewhere(browser) {
  const { page, call } = await shop(browser, other);
  for (const [operation, places] of [["greet"], ["list_products"], ["log_in", { body: credentials }]]) {
    const outcome = await call(store, operation, undefined, places);
    faults.expect(outcome.failed?.startsWith("TypeError"), `expected the browser to refuse, got ${JSON.stringify(outcome)}`);
  }
  // A store that allows every origin, and a request that needs a preflight.
  expect(await call(open, "list_products"), 200);
  expect(await call(open, "list_orders", "no token"), 401, [], "token_invalid");
  await page.close();
}

const browser = await launch();
for (const part of [buyAndLeave, fromElsewhere]) {
  try {
    await part(browser);
  } catch (error) {
    faults.add(`the check failed: ${error.message}`);
  }
}
await browser.close();
console.log(JSON.stringify({ faults: faults.all, steps }));
