// One typed call of the generated client per operation. A leftover argument is an error.

import createClient, { type Client } from "openapi-fetch";

import { Misuse, type Json, type Members } from "./journey.js";
import type { components, paths } from "./schema.js";

type Schemas = components["schemas"];

/** Limit of a request, in milliseconds. */
const PATIENCE = 30_000;

/** A response as the client parsed it. */
export interface Outcome {
  status: number;
  headers: Headers;
  /** The typed body of a success; `undefined` where the contract has none. */
  data: Result | undefined;
  problem: Schemas["Problem"] | undefined;
}

export type Result =
  | Schemas["AccessToken"]
  | Schemas["Greeting"]
  | Schemas["Order"]
  | Schemas["OrderPage"]
  | Schemas["Product"]
  | Schemas["ProductPage"]
  | Schemas["User"];

/** The resolved arguments of one call. */
export class Arguments {
  readonly #places: { [place in Place]: Map<string, Json> };

  constructor(path: Members, query: Members, header: Members, body: Members) {
    const map = (members: Members) => new Map(Object.entries(members));
    this.#places = { path: map(path), query: map(query), header: map(header), body: map(body) };
  }

  text(place: Place, name: string): string {
    return this.#wanted(place, name, this.optionalText(place, name));
  }

  optionalText(place: Place, name: string): string | undefined {
    const value = this.#take(place, name);
    if (value !== undefined && typeof value !== "string") {
      throw new Misuse(`${place} ${name}: expected a text, got ${JSON.stringify(value)}`);
    }
    return value;
  }

  integer(place: Place, name: string): number {
    return this.#wanted(place, name, this.optionalInteger(place, name));
  }

  optionalInteger(place: Place, name: string): number | undefined {
    const value = this.#take(place, name);
    if (value !== undefined && (typeof value !== "number" || !Number.isSafeInteger(value))) {
      throw new Misuse(`${place} ${name}: expected an integer, got ${JSON.stringify(value)}`);
    }
    return value;
  }

  optionalStatus(): Schemas["OrderStatus"] | undefined {
    const value = this.#take("query", "status");
    if (value !== undefined && value !== "placed" && value !== "cancelled") {
      throw new Misuse(`query status: expected placed or cancelled, got ${JSON.stringify(value)}`);
    }
    return value;
  }

  /** Throws if an argument is left. */
  allTaken(operation: string): void {
    for (const [place, left] of Object.entries(this.#places)) {
      for (const name of left.keys()) {
        throw new Misuse(`${operation} takes no ${place} ${name}`);
      }
    }
  }

  #take(place: Place, name: string): Json | undefined {
    const value = this.#places[place].get(name);
    this.#places[place].delete(name);
    return value;
  }

  #wanted<T>(place: Place, name: string, value: T | undefined): T {
    if (value === undefined) {
      throw new Misuse(`${place} ${name} is missing`);
    }
    return value;
  }
}

type Place = "path" | "query" | "header" | "body";

/** Calls an operation with the generated client. */
export async function call(url: string, operation: string, token: string | undefined, args: Arguments): Promise<Outcome> {
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  const client = createClient<paths>({ baseUrl: url, headers, signal: AbortSignal.timeout(PATIENCE) });
  const sent = dispatch(client, operation, args);
  args.allTaken(operation);
  const { data, error, response } = await sent;
  // openapi-fetch returns an empty string for a 304.
  return { status: response.status, headers: response.headers, data, problem: response.status >= 400 ? error : undefined };
}

/** The result of every operation; the compiler checks success and problem types. */
type Answer = Promise<{ data?: Result | undefined; error?: Schemas["Problem"] | undefined; response: Response }>;

function dispatch(client: Client<paths>, operation: string, args: Arguments): Answer {
  switch (operation) {
    case "greet":
      return client.GET("/");
    case "register": {
      const body: Schemas["Registration"] = {
        sid: args.text("body", "sid"),
        username: args.text("body", "username"),
        email: args.text("body", "email"),
        password: args.text("body", "password"),
      };
      return client.POST("/users", { body });
    }
    case "log_in": {
      const body: Schemas["Credentials"] = { username: args.text("body", "username"), password: args.text("body", "password") };
      return client.POST("/login", { body });
    }
    case "log_out":
      return client.POST("/logout");
    case "get_user": {
      const path = { user_id: args.text("path", "user_id") };
      return client.GET("/users/{user_id}", { params: { path, header: given("If-None-Match", args.optionalText("header", "If-None-Match")) } });
    }
    case "update_user": {
      const path = { user_id: args.text("path", "user_id") };
      const body: Schemas["UserChange"] = {
        ...given("username", args.optionalText("body", "username")),
        ...given("email", args.optionalText("body", "email")),
      };
      return client.PATCH("/users/{user_id}", { params: { path, header: given("If-Match", args.optionalText("header", "If-Match")) }, body });
    }
    case "deactivate_user":
      return client.DELETE("/users/{user_id}", { params: { path: { user_id: args.text("path", "user_id") } } });
    case "change_password": {
      const path = { user_id: args.text("path", "user_id") };
      const body: Schemas["PasswordChange"] = {
        current_password: args.text("body", "current_password"),
        new_password: args.text("body", "new_password"),
      };
      return client.PUT("/users/{user_id}/password", { params: { path }, body });
    }
    case "list_products": {
      const query = {
        ...given("limit", args.optionalInteger("query", "limit")),
        ...given("page_token", args.optionalText("query", "page_token")),
        ...given("category", args.optionalText("query", "category")),
      };
      return client.GET("/products", { params: { query } });
    }
    case "get_product": {
      const path = { product_id: args.integer("path", "product_id") };
      const header = given("If-None-Match", args.optionalText("header", "If-None-Match"));
      return client.GET("/products/{product_id}", { params: { path, header } });
    }
    case "place_order": {
      const header = given("Idempotency-Key", args.optionalText("header", "Idempotency-Key"));
      const body: Schemas["Purchase"] = { product_id: args.integer("body", "product_id"), quantity: args.integer("body", "quantity") };
      return client.POST("/orders", { params: { header }, body });
    }
    case "list_orders": {
      const query = {
        ...given("limit", args.optionalInteger("query", "limit")),
        ...given("page_token", args.optionalText("query", "page_token")),
        ...given("status", args.optionalStatus()),
      };
      return client.GET("/orders", { params: { query } });
    }
    case "get_order": {
      const path = { order_id: args.text("path", "order_id") };
      const header = given("If-None-Match", args.optionalText("header", "If-None-Match"));
      return client.GET("/orders/{order_id}", { params: { path, header } });
    }
    case "cancel_order":
      return client.POST("/orders/{order_id}/cancel", { params: { path: { order_id: args.text("path", "order_id") } } });
    default:
      throw new Misuse(`the operation ${operation} is not known to this driver`);
  }
}

/** `{ name: value }`, or nothing: an optional member is absent, never `undefined`. */
function given<Name extends string, Value>(name: Name, value: Value | undefined): { [member in Name]?: Value } {
  return (value === undefined ? {} : { [name]: value }) as { [member in Name]?: Value };
}
