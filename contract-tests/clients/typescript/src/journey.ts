// Reads the journey strictly.

export type Json = null | boolean | number | string | Json[] | { [member: string]: Json };
export type Members = { [member: string]: Json };

export interface Step {
  name: string;
  operation: string;
  token: Json | undefined;
  path: Members;
  query: Members;
  header: Members;
  body: Members;
  walk: { limit: number; whole: number } | undefined;
  status: number;
  code: Json | undefined;
  headers: Members;
  results: Members;
  keep: { [variable: string]: string };
  notIn: { [language: string]: string };
}

/** An invalid journey or environment, or a bug of this program. */
export class Misuse extends Error {}

export function isMembers(value: Json | undefined): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Parses a journey. Throws `Misuse` for unknown members, so that no part of a step is ignored. */
export function readJourney(text: string): Step[] {
  const journey = members(JSON.parse(text) as Json, "the journey", ["about", "steps"]);
  const steps = journey["steps"];
  if (!Array.isArray(steps) || steps.length === 0) {
    throw new Misuse("the journey has no steps");
  }
  return steps.map((step, index) => readStep(step, `step ${index + 1}`));
}

function readStep(value: Json, place: string): Step {
  const step = members(value, place, [
    "name", "operation", "token", "path", "query", "header", "body", "walk", "expect", "keep", "events", "not_in",
  ]);
  const expect = members(step["expect"], `${place}, expect`, ["status", "code", "headers", "body"]);
  let walk: Step["walk"];
  if (step["walk"] !== undefined) {
    const sizes = members(step["walk"], `${place}, walk`, ["limit", "whole"]);
    walk = { limit: integer(sizes["limit"], `${place}, limit`), whole: integer(sizes["whole"], `${place}, whole`) };
  }
  return {
    name: text(step["name"], `${place}, name`),
    operation: text(step["operation"], `${place}, operation`),
    token: step["token"],
    path: members(step["path"] ?? {}, `${place}, path`),
    query: members(step["query"] ?? {}, `${place}, query`),
    header: members(step["header"] ?? {}, `${place}, header`),
    body: members(step["body"] ?? {}, `${place}, body`),
    walk,
    status: integer(expect["status"], `${place}, status`),
    code: expect["code"],
    headers: members(expect["headers"] ?? {}, `${place}, headers`),
    results: members(expect["body"] ?? {}, `${place}, expected body`),
    keep: texts(step["keep"] ?? {}, `${place}, keep`),
    notIn: texts(step["not_in"] ?? {}, `${place}, not_in`),
  };
}

function members(value: Json | undefined, place: string, known?: readonly string[]): Members {
  if (!isMembers(value)) {
    throw new Misuse(`${place}: expected an object, got ${JSON.stringify(value)}`);
  }
  const unknown = Object.keys(value).find((member) => known !== undefined && !known.includes(member));
  if (unknown !== undefined) {
    throw new Misuse(`${place}: the member ${unknown} is not known to this driver`);
  }
  return value;
}

function texts(value: Json, place: string): { [member: string]: string } {
  return Object.fromEntries(Object.entries(members(value, place)).map(([member, entry]) => [member, text(entry, `${place}, ${member}`)]));
}

function text(value: Json | undefined, place: string): string {
  if (typeof value !== "string") {
    throw new Misuse(`${place}: expected a text, got ${JSON.stringify(value)}`);
  }
  return value;
}

function integer(value: Json | undefined, place: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value)) {
    throw new Misuse(`${place}: expected an integer, got ${JSON.stringify(value)}`);
  }
  return value;
}
