// Runs the journey with the generated client; see ../README.md.

import { readFileSync } from "node:fs";

import { Arguments, call, type Outcome } from "./call.js";
import { Misuse, readJourney, type Json, type Members, type Step } from "./journey.js";
import { compare, Difference, follow, Variables } from "./values.js";

const LANGUAGE = "typescript";
/** Limit of pages in a walk. */
const PAGES = 1_000;

function variable(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === "") {
    throw new Misuse(`the variable ${name} is not set; contract-tests/clients/README.md says what it is`);
  }
  return value;
}

function resolved(variables: Variables, members: Members): Members {
  return Object.fromEntries(Object.entries(members).map(([name, value]) => [name, variables.resolve(value)]));
}

async function take(step: Step, url: string, variables: Variables): Promise<void> {
  const token = step.token === undefined ? undefined : variables.resolve(step.token);
  if (token !== undefined && typeof token !== "string") {
    throw new Misuse("the token is not a string");
  }
  const [path, header, body] = [step.path, step.header, step.body].map((members) => resolved(variables, members)) as [Members, Members, Members];
  const send = async (query: Members): Promise<Outcome> => {
    const outcome = await call(url, step.operation, token, new Arguments(path, query, header, body));
    if (outcome.status !== step.status) {
      const { problem } = outcome;
      const why = problem === undefined ? "" : ` (code ${problem.code}: ${problem.detail} ${JSON.stringify(problem.errors ?? [])})`;
      throw new Difference(`expected status ${step.status}, got ${outcome.status}${why}`);
    }
    return outcome;
  };
  const query = resolved(variables, step.query);
  const { outcome, result } = step.walk === undefined ? await once(send, query) : await walk(send, query, step.walk);

  for (const [name, where] of Object.entries(step.keep)) {
    const value = where.startsWith("/") ? follow(where, result) : outcome.headers.get(where);
    if (value === undefined || value === null) {
      throw new Difference(`expected ${where}, got nothing`);
    }
    variables.set(name, value);
  }
  if (step.code !== undefined) {
    const { problem } = outcome;
    if (problem === undefined) {
      throw new Difference(`expected a problem with code ${JSON.stringify(step.code)}, got no problem`);
    }
    compare("code", variables.resolve(step.code), problem.code);
    compare("status in the problem", outcome.status, problem.status);
    compare("request_id", outcome.headers.get("x-request-id"), problem.request_id);
  }
  for (const [name, value] of Object.entries(step.headers)) {
    compare(name, variables.resolve(value), outcome.headers.get(name) ?? undefined);
  }
  for (const [pointer, value] of Object.entries(step.results)) {
    compare(pointer, variables.resolve(value), follow(pointer, result));
  }
}

interface Taken {
  outcome: Outcome;
  result: Json | undefined;
}

async function once(send: (query: Members) => Promise<Outcome>, query: Members): Promise<Taken> {
  const outcome = await send(query);
  return { outcome, result: (outcome.problem ?? outcome.data) as Json | undefined };
}

/** Compares the list page by page with the list on one page. */
async function walk(send: (query: Members) => Promise<Outcome>, query: Members, sizes: { limit: number; whole: number }): Promise<Taken> {
  const page = async (asked: Members, limit: number): Promise<{ outcome: Outcome; ids: (string | number)[]; next: string | null }> => {
    const outcome = await send({ ...asked, limit });
    const data = outcome.data;
    if (data === undefined || !("items" in data)) {
      throw new Difference("expected a page, got something else");
    }
    if (data.items.length > limit) {
      throw new Difference(`expected at most ${limit} items on a page, got ${data.items.length}`);
    }
    return { outcome, ids: data.items.map((item) => item.id), next: data.next_page ?? null };
  };
  const whole = await page(query, sizes.whole);
  compare("next_page of the page with everything", null, whole.next);

  const ids: (string | number)[] = [];
  let asked = query;
  for (let pages = 0; pages < PAGES; pages += 1) {
    const { ids: some, next } = await page(asked, sizes.limit);
    ids.push(...some);
    if (next === null) {
      compare("the ids of all pages", whole.ids, ids);
      compare("the number of different ids", ids.length, new Set(ids).size);
      return { outcome: whole.outcome, result: { ids } };
    }
    // The token carries the filter.
    asked = { page_token: next };
  }
  throw new Difference(`expected a last page, got ${PAGES} pages and no end`);
}

async function drive(): Promise<void> {
  const url = variable("MERCH_URL");
  const variables = new Variables();
  variables.set("unique", variable("MERCH_UNIQUE"));
  variables.set("sold_out_product", Number(variable("MERCH_SOLD_OUT_PRODUCT")));
  let number = 0;
  for (const step of readJourney(readFileSync(variable("MERCH_JOURNEY"), "utf8"))) {
    number += 1;
    const reason = step.notIn[LANGUAGE];
    if (reason !== undefined) {
      console.log(`skipped ${number} ${step.operation} ${reason}`);
      continue;
    }
    try {
      await take(step, url, variables);
    } catch (error) {
      const place = `step ${number}, ${step.operation} ${JSON.stringify(step.name)}`;
      if (error instanceof Misuse) {
        throw new Misuse(`${place}: ${error.message}`);
      }
      const cause = error instanceof Error && error.cause !== undefined ? ` (${String(error.cause)})` : "";
      // Any other exception of the client means an unexpected response.
      throw new Difference(`${place}: ${error instanceof Difference ? error.message : `expected an answer that the client reads, got ${String(error)}${cause}`}`);
    }
    console.log(`ok ${number} ${step.operation} ${step.status} ${step.name}`);
  }
}

try {
  await drive();
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = error instanceof Difference ? 1 : 2;
}
