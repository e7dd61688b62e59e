// Variables, substitution and comparison.

import { isMembers, Misuse, type Json } from "./journey.js";

/** A mismatch between expected and received values. */
export class Difference extends Error {}

/** The variables of one run. Each is set once. */
export class Variables {
  readonly #values = new Map<string, Json>();

  set(name: string, value: Json): void {
    if (this.#values.has(name)) {
      throw new Misuse(`the variable ${name} is set twice`);
    }
    this.#values.set(name, value);
  }

  /** Substitutes variables and computes sums. */
  resolve(value: Json): Json {
    if (typeof value === "string") {
      const whole = /^\$\{([a-z0-9_]+)\}$/.exec(value);
      if (whole?.[1] !== undefined) {
        return this.#get(whole[1]);
      }
      return value.replace(/\$\{([a-z0-9_]+)\}/g, (_, name: string) => String(this.#get(name)));
    }
    if (Array.isArray(value)) {
      return value.map((element) => this.resolve(element));
    }
    if (isMembers(value)) {
      if (value["$sum"] !== undefined) {
        return this.#integers(value["$sum"]).reduce((sum, term) => sum + term, 0);
      }
      if (value["$product"] !== undefined) {
        return this.#integers(value["$product"]).reduce((product, factor) => product * factor, 1);
      }
    }
    return value;
  }

  #get(name: string): Json {
    const value = this.#values.get(name);
    if (value === undefined) {
      throw new Misuse(`the variable ${name} is not set`);
    }
    return value;
  }

  #integers(terms: Json): number[] {
    const values = this.resolve(terms);
    if (!Array.isArray(values) || !values.every((term) => Number.isSafeInteger(term))) {
      throw new Misuse(`expected integers, got ${JSON.stringify(values)}`);
    }
    return values as number[];
  }
}

/** Throws a `Difference` unless `got` matches a resolved value. */
export function compare(what: string, expected: Json, got: Json | undefined): void {
  if (isMembers(expected)) {
    const type = expected["$type"];
    const holds =
      type === "string" ? typeof got === "string" && got !== "" :
      type === "integer" ? Number.isSafeInteger(got) :
      undefined;
    if (holds === undefined) {
      throw new Misuse(`${what}: ${JSON.stringify(expected)} is not known to this driver`);
    }
    if (!holds) {
      throw new Difference(`expected ${what} to be of type ${JSON.stringify(type)} and not empty, got ${show(got)}`);
    }
    return;
  }
  // Values are at most lists of ids, so equal texts are equal values. Absent equals null.
  if (JSON.stringify(expected) !== JSON.stringify(got ?? null)) {
    throw new Difference(`expected ${what} ${JSON.stringify(expected)}, got ${show(got)}`);
  }
}

/** Follows a JSON pointer (RFC 6901). */
export function follow(pointer: string, document: Json | undefined): Json | undefined {
  let value = document;
  for (const part of pointer.split("/").slice(1)) {
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~");
    if (Array.isArray(value)) {
      value = /^\d+$/.test(name) ? value[Number(name)] : undefined;
    } else {
      value = isMembers(value) ? value[name] : undefined;
    }
  }
  return value;
}

function show(value: Json | undefined): string {
  return value === undefined ? "nothing" : JSON.stringify(value);
}
