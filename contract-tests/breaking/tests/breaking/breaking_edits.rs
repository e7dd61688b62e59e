//! Edits that break somebody.

use serde_json::json;

use crate::edits::{
    Edit, assistant, at, logging, openapi, openapi_given, push, refer, remove, rename, reword, set,
    take,
};

const ORDER: &str = "components schemas Order";
const NEW_ORDER: &str = "components schemas Purchase";

/// Edits of `openapi.yaml`: operations, requests, responses, schemas on their way in and out,
/// security, and the rest.
pub(crate) fn of_openapi() -> Vec<Edit> {
    [
        operations(),
        requests(),
        responses(),
        request_schemas(),
        response_schemas(),
        everything_else(),
    ]
    .concat()
}

fn operations() -> Vec<Edit> {
    vec![
        openapi("an operation is removed", |d| drop(remove(d, "paths /orders post"))),
        openapi("a path is removed", |d| drop(remove(d, "paths /logout"))),
        openapi("a path is renamed", |d| {
            rename(d, "paths /orders/{order_id}/cancel", "/orders/{order_id}/cancellation")
        }),
        openapi("a path has a slash more", |d| rename(d, "paths /orders", "/orders/")),
        openapi("an operation has another method", |d| {
            rename(d, "paths /users/{user_id} patch", "put")
        }),
        openapi("an operation has another id", |d| {
            set(d, "paths /orders post operationId", "create_order")
        }),
        openapi("an operation has no id any more", |d| {
            drop(remove(d, "paths /orders post operationId"))
        }),
        openapi("an operation has another tag", |d| {
            set(d, "paths /login post tags", json!(["Dialog"]))
        }),
        openapi("an operation has another tag first", |d| {
            set(d, "paths /login post tags", json!(["Dialog", "UserManager"]))
        }),
        openapi("two operations have changed their ids", |d| {
            set(d, "paths /orders get operationId", "get_order");
            set(d, "paths /orders/{order_id} get operationId", "list_orders");
        }),
        openapi("a path's parameter is renamed", |d| {
            rename(d, "paths /orders/{order_id}", "/orders/{id}");
            set(d, "components parameters OrderId name", "id");
            rename(d, "paths /orders/{order_id}/cancel", "/orders/{id}/cancel");
        }),
        openapi("pages are walked no more", |d| {
            drop(remove(d, "paths /products get x-dropshot-pagination"))
        }),
        openapi("a generator is told another name", |d| {
            set(d, "components schemas Order x-go-name", "Purchase")
        }),
    ]
}

fn requests() -> Vec<Edit> {
    vec![
        openapi("a required query parameter is new", |d| {
            push(
                d,
                "paths /products get parameters",
                json!({ "name": "region", "in": "query", "required": true, "schema": { "type": "string" } }),
            );
        }),
        openapi("a required header is new, for all of a path", |d| {
            push(
                d,
                "paths /orders/{order_id} parameters",
                json!({ "name": "X-Tenant", "in": "header", "required": true, "schema": { "type": "string" } }),
            );
        }),
        openapi("a query parameter is removed", |d| {
            drop(remove(d, "paths /orders get parameters 2"))
        }),
        openapi("a query parameter is renamed", |d| {
            set(d, "components parameters PageToken name", "cursor")
        }),
        openapi("a query parameter is a header now", |d| {
            set(d, "components parameters Limit in", "header")
        }),
        openapi("a parameter has become required", |d| {
            set(d, "paths /orders post parameters 0 required", true)
        }),
        openapi("a parameter of all lists has become required", |d| {
            set(d, "components parameters Limit required", true)
        }),
        openapi("a parameter's maximum is lower", |d| {
            set(d, "components parameters Limit schema maximum", 50)
        }),
        openapi("a parameter's minimum is higher", |d| {
            set(d, "components parameters Limit schema minimum", 5)
        }),
        openapi("a parameter's default is another", |d| {
            set(d, "components parameters Limit schema default", 50)
        }),
        openapi("a parameter has no default any more", |d| {
            drop(remove(d, "components parameters Limit schema default"))
        }),
        openapi("a parameter's type is another", |d| {
            set(
                d,
                "components parameters PageToken schema",
                json!({ "type": "integer", "format": "int64" }),
            )
        }),
        openapi("a parameter has got a pattern", |d| {
            set(d, "components parameters PageToken schema pattern", "^[a-z]+$")
        }),
        openapi("a parameter's pattern is another", |d| {
            set(d, "paths /orders post parameters 0 schema pattern", "^[a-z0-9]{1,255}$")
        }),
        openapi("a parameter takes one value less", |d| {
            set(
                d,
                "paths /orders get parameters 2 schema",
                json!({ "type": "string", "enum": ["placed"] }),
            )
        }),
        openapi("a parameter is a list now", |d| {
            set(
                d,
                "paths /orders get parameters 2 schema",
                json!({ "type": "array", "items": { "type": "string" } }),
            )
        }),
        openapi("a parameter is written in another style", |d| {
            set(d, "components parameters PageToken style", "spaceDelimited");
        }),
        openapi("a parameter is written another way", |d| {
            set(d, "components parameters PageToken explode", false)
        }),
        openapi("a parameter is JSON now", |d| {
            let schema = remove(d, "components parameters PageToken schema");
            set(
                d,
                "components parameters PageToken content",
                json!({ "application/json": { "schema": schema } }),
            );
        }),
        openapi("a request's body is required where there was none", |d| {
            set(
                d,
                "paths /logout post requestBody",
                json!({ "required": true, "content": { "application/json": { "schema": { "type": "object" } } } }),
            );
        }),
        openapi("a request's body is gone", |d| {
            drop(remove(d, "paths /users/{user_id} patch requestBody"))
        }),
        openapi_given(
            "a request's body has become required",
            |d| set(d, "paths /users/{user_id} patch requestBody required", false),
            |d| set(d, "paths /users/{user_id} patch requestBody required", true),
        ),
        openapi("a request's media type is another", |d| {
            rename(
                d,
                "paths /orders post requestBody content application/json",
                "application/x-www-form-urlencoded",
            )
        }),
        openapi("a request's schema is another", |d| {
            set(
                d,
                "paths /orders post requestBody content application/json schema $ref",
                "#/components/schemas/Registration",
            );
        }),
    ]
}

fn responses() -> Vec<Edit> {
    vec![
        openapi("the status of success is another", |d| {
            rename(d, "paths /orders post responses 201", "200")
        }),
        openapi("a second status of success is new", |d| {
            set(
                d,
                "paths /orders post responses 202",
                json!({ "description": "Taken, and not yet placed." }),
            )
        }),
        openapi("a redirection is new", |d| {
            set(d, "paths /products get responses 307", json!({ "description": "Elsewhere." }))
        }),
        openapi("an error's status is removed", |d| {
            drop(remove(d, "paths /orders post responses 409"))
        }),
        openapi("an error's status is another", |d| {
            rename(d, "paths /orders post responses 409", "410")
        }),
        openapi("304 is removed", |d| {
            drop(remove(d, "paths /products/{product_id} get responses 304"))
        }),
        openapi("everything else is answered", |d| {
            set(d, "paths /orders post responses default", json!({ "description": "Anything." }))
        }),
        openapi("a new error has a body of its own", |d| {
            set(
                d,
                "paths /orders post responses 402",
                json!({ "description": "Pay.", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Order" } } } }),
            );
        }),
        openapi("a new error has no body", |d| {
            set(d, "paths /orders post responses 402", json!({ "description": "Pay." }))
        }),
        openapi("errors have another media type", |d| {
            rename(
                d,
                "components responses OutOfStock content application/problem+json",
                "application/json",
            )
        }),
        openapi("a response's media type is removed", |d| {
            drop(remove(d, "paths /products get responses 200 content"))
        }),
        openapi("a response may be of another media type", |d| {
            set(
                d,
                "paths /products get responses 200 content text/csv",
                json!({ "schema": { "type": "string" } }),
            );
        }),
        openapi("an empty response has a body now", |d| {
            set(
                d,
                "paths /logout post responses 204 content",
                json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Greeting" } } }),
            );
        }),
        openapi("a response has another schema", |d| {
            set(
                d,
                "paths /orders/{order_id} get responses 200 content application/json schema $ref",
                "#/components/schemas/Product",
            );
        }),
        openapi("a response is a list now", |d| {
            set(
                d,
                "paths /products get responses 200 content application/json schema",
                json!({ "type": "array", "items": { "$ref": "#/components/schemas/Product" } }),
            );
        }),
        openapi("a header is removed", |d| {
            drop(remove(d, "paths /orders post responses 201 headers Location"))
        }),
        openapi("a header is renamed", |d| {
            rename(d, "components responses TooManyAttempts headers Retry-After", "X-Retry-After")
        }),
        openapi("a header is not always there any more", |d| {
            set(d, "components headers ETag required", false)
        }),
        openapi("a header's type is another", |d| {
            set(
                d,
                "components headers RetryAfter schema",
                json!({ "type": "string", "format": "date-time" }),
            )
        }),
        openapi("a header's pattern is wider", |d| {
            set(d, "components headers ETag schema pattern", "^(W/)?\"[0-9]+\"$")
        }),
        openapi("a header's minimum is gone", |d| {
            drop(remove(d, "components headers RetryAfter schema minimum"))
        }),
        openapi_given(
            "a link is removed",
            |d| {
                set(
                    d,
                    "paths /orders post responses 201 links",
                    json!({ "Read": { "operationId": "get_order", "parameters": { "order_id": "$response.body#/id" } } }),
                )
            },
            |d| drop(remove(d, "paths /orders post responses 201 links Read")),
        ),
        openapi_given(
            "a link leads elsewhere",
            |d| {
                set(
                    d,
                    "paths /orders post responses 201 links",
                    json!({ "Read": { "operationId": "get_order", "parameters": { "order_id": "$response.body#/id" } } }),
                )
            },
            |d| set(d, "paths /orders post responses 201 links Read operationId", "cancel_order"),
        ),
        openapi("a problem's code is another", |d| {
            reword(d, "components responses OutOfStock description", "`out_of_stock`", "`sold_out`")
        }),
        openapi("a code is gone from the list", |d| {
            reword(d, "components schemas Problem description", "`email_taken`, ", "")
        }),
    ]
}

fn request_schemas() -> Vec<Edit> {
    vec![
        openapi("a request's member is removed", |d| {
            remove(d, "components schemas UserChange properties email");
        }),
        openapi("a request's required member is new", |d| {
            set(d, &format!("{NEW_ORDER} properties address"), json!({ "type": "string" }));
            push(d, &format!("{NEW_ORDER} required"), "address");
        }),
        openapi("a request's member is renamed", |d| {
            rename(d, "components schemas UserChange properties email", "mail");
        }),
        openapi("a request's member has become required", |d| {
            set(d, "components schemas UserChange required", json!(["email"]))
        }),
        openapi("a request's maximum is lower", |d| {
            set(d, &format!("{NEW_ORDER} properties quantity maximum"), 2)
        }),
        openapi("a request's minimum is exclusive", |d| {
            set(d, &format!("{NEW_ORDER} properties quantity exclusiveMinimum"), true)
        }),
        openapi("a request's number comes in steps", |d| {
            set(d, &format!("{NEW_ORDER} properties quantity multipleOf"), 3)
        }),
        openapi("a request's text is shorter", |d| set(d, "components schemas Sid maxLength", 8)),
        openapi("a request's text is longer", |d| {
            set(d, "components schemas Registration properties password minLength", 12)
        }),
        openapi("a request's pattern is another", |d| {
            set(d, "components schemas Sid pattern", "^[0-9]{1,15}$")
        }),
        openapi("a request's pattern is new", |d| {
            set(d, "components schemas Category pattern", "^[A-Z]")
        }),
        openapi("a request's format is another", |d| {
            set(d, "components schemas Email format", "idn-email")
        }),
        openapi("a request's format is gone", |d| {
            drop(remove(d, "components schemas UserId format"))
        }),
        openapi("a request's integer is wider", |d| {
            set(d, &format!("{NEW_ORDER} properties quantity format"), "int64")
        }),
        openapi("a request's integer is a number", |d| {
            set(d, &format!("{NEW_ORDER} properties quantity type"), "number")
        }),
        openapi("a request's values are told", |d| {
            set(
                d,
                "components schemas Category enum",
                json!(["Apparel", "Drinkware", "Stationery"]),
            )
        }),
        openapi_given(
            "a request's null is refused",
            |d| {
                set(
                    d,
                    "components schemas UserChange properties nickname",
                    json!({ "type": "string", "nullable": true }),
                )
            },
            |d| drop(remove(d, "components schemas UserChange properties nickname nullable")),
        ),
        openapi_given(
            "a request's schema is closed",
            |d| drop(remove(d, "components schemas Purchase additionalProperties")),
            |d| set(d, "components schemas Purchase additionalProperties", false),
        ),
        openapi("a request is one of two", |d| {
            let alternatives = json!([{ "$ref": "#/components/schemas/Purchase" }, { "$ref": "#/components/schemas/Registration" }]);
            set(
                d,
                "paths /orders post requestBody content application/json schema",
                json!({ "oneOf": alternatives }),
            );
        }),
        openapi("a request has to have two members", |d| {
            set(d, "components schemas UserChange minProperties", 2)
        }),
        openapi("a request's member has a default", |d| {
            set(
                d,
                "components schemas UserChange properties email",
                json!({ "type": "string", "default": "nobody@example.com" }),
            )
        }),
    ]
}

fn response_schemas() -> Vec<Edit> {
    vec![
        openapi("a response's member is removed", |d| {
            remove(d, &format!("{ORDER} properties currency"));
            take(d, &format!("{ORDER} required"), "currency");
        }),
        openapi("a response's member is renamed", |d| {
            rename(d, &format!("{ORDER} properties total_price_cents"), "total_cents");
            take(d, &format!("{ORDER} required"), "total_price_cents");
            push(d, &format!("{ORDER} required"), "total_cents");
        }),
        openapi("a response's member is not required any more", |d| {
            take(d, &format!("{ORDER} required"), "status")
        }),
        openapi("a response requires nothing any more", |d| {
            drop(remove(d, &format!("{ORDER} required")))
        }),
        openapi("a response's member may be null", |d| {
            set(d, &format!("{ORDER} properties created_at nullable"), true)
        }),
        openapi("a response's money is a number", |d| {
            set(d, &format!("{ORDER} properties unit_price_cents type"), "number");
            set(d, &format!("{ORDER} properties unit_price_cents format"), "double");
        }),
        openapi("a response's money is a text", |d| {
            set(d, &format!("{ORDER} properties unit_price_cents"), json!({ "type": "string" }));
        }),
        openapi("a response's integer is narrower", |d| {
            set(d, "components schemas Product properties price_cents format", "int32")
        }),
        openapi("a response's time is a number", |d| {
            set(
                d,
                &format!("{ORDER} properties created_at"),
                json!({ "type": "integer", "format": "int64" }),
            );
        }),
        openapi("a response's format is gone", |d| {
            drop(remove(d, "components schemas User properties created_at format"))
        }),
        openapi("a response's format is new", |d| {
            set(d, "components schemas Problem properties request_id format", "uuid")
        }),
        openapi("a response's value is new", |d| {
            push(d, "components schemas OrderStatus enum", "shipped")
        }),
        openapi("a response's value is gone", |d| {
            take(d, "components schemas Fault properties in enum", "query")
        }),
        openapi("a response's values are spelled in another way", |d| {
            set(d, "components schemas OrderStatus enum", json!(["PLACED", "CANCELLED"]))
        }),
        openapi("a response's values are not told any more", |d| {
            drop(remove(d, "components schemas Fault properties in enum"))
        }),
        openapi("a response's maximum is higher", |d| {
            set(d, &format!("{ORDER} properties quantity maximum"), 10)
        }),
        openapi("a response's maximum is gone", |d| {
            drop(remove(d, "components schemas Problem properties status maximum"))
        }),
        openapi("a response's minimum is lower", |d| {
            set(d, "components schemas Product properties stock minimum", -1)
        }),
        openapi("a response's text is longer", |d| {
            set(d, "components schemas Product properties description maxLength", 4000)
        }),
        openapi("a response's pattern is gone", |d| {
            drop(remove(d, "components schemas Currency pattern"))
        }),
        openapi_given(
            "a closed response is open",
            |d| set(d, "components schemas GreetingLinks additionalProperties", false),
            |d| drop(remove(d, "components schemas GreetingLinks additionalProperties")),
        ),
        openapi_given(
            "a closed response has a member more",
            |d| set(d, "components schemas GreetingLinks additionalProperties", false),
            |d| {
                set(
                    d,
                    "components schemas GreetingLinks properties reference",
                    json!({ "type": "string" }),
                )
            },
        ),
        openapi("a page's items are of another type", |d| {
            set(
                d,
                "components schemas OrderPage properties items items",
                json!({ "$ref": "#/components/schemas/OrderId" }),
            )
        }),
        openapi("a page's items are an object", |d| {
            set(
                d,
                "components schemas OrderPage properties items",
                json!({ "type": "object", "additionalProperties": { "$ref": "#/components/schemas/Order" } }),
            )
        }),
        openapi("a response's member can be left out of a page", |d| {
            drop(remove(d, "components schemas ProductPage required"))
        }),
        openapi("a response has a discriminator", |d| {
            set(d, "components schemas Problem discriminator", json!({ "propertyName": "code" }))
        }),
        openapi("a member is only for reading", |d| {
            set(
                d,
                "components schemas Registration properties email",
                json!({ "type": "string", "format": "email", "readOnly": true }),
            )
        }),
    ]
}

fn everything_else() -> Vec<Edit> {
    vec![
        openapi("a token is needed", |d| {
            set(d, "paths /products get security", json!([{ "bearerAuth": [] }]))
        }),
        openapi("a token is not needed any more", |d| {
            set(d, "paths /orders get security", json!([]))
        }),
        openapi("a token may be left out", |d| push(d, "paths /orders get security", json!({}))),
        openapi("a scope is needed", |d| {
            set(d, "paths /orders get security", json!([{ "bearerAuth": ["orders"] }]))
        }),
        openapi("another scheme is needed", |d| {
            set(
                d,
                "components securitySchemes key",
                json!({ "type": "apiKey", "in": "header", "name": "X-Key" }),
            );
            set(d, "paths /orders get security", json!([{ "key": [] }]));
        }),
        openapi("two schemes are needed", |d| {
            set(
                d,
                "components securitySchemes key",
                json!({ "type": "apiKey", "in": "header", "name": "X-Key" }),
            );
            set(d, "paths /orders get security", json!([{ "bearerAuth": [], "key": [] }]));
        }),
        openapi("the scheme is basic", |d| {
            set(d, "components securitySchemes bearerAuth scheme", "basic")
        }),
        openapi("the scheme has another name", |d| {
            rename(d, "components securitySchemes bearerAuth", "token");
            let schemes = json!([{ "token": [] }]);
            for place in [
                "/logout post",
                "/users/{user_id} get",
                "/users/{user_id} patch",
                "/users/{user_id} delete",
                "/users/{user_id}/password put",
            ] {
                set(d, &format!("paths {place} security"), schemes.clone());
            }
            for place in [
                "/orders get",
                "/orders post",
                "/orders/{order_id} get",
                "/orders/{order_id}/cancel post",
            ] {
                set(d, &format!("paths {place} security"), schemes.clone());
            }
        }),
        openapi("the server is another", |d| set(d, "servers 0 url", "/v2")),
        openapi("another server comes first", |d| {
            let servers = at(d, "servers").as_array_mut().unwrap();
            servers.insert(0, json!({ "url": "https://merch.example.com" }));
        }),
        openapi("an operation has a server of its own", |d| {
            set(d, "paths /orders post servers", json!([{ "url": "https://orders.example.com" }]))
        }),
        openapi("a type has another name", |d| {
            rename(d, "components schemas Order", "Purchase");
            refer(d, "#/components/schemas/Order", "#/components/schemas/Purchase");
        }),
        openapi("a type has a name no more", |d| {
            let links = remove(d, "components schemas GreetingLinks");
            set(d, "components schemas Greeting properties links", links);
        }),
        openapi("the document is of another language", |d| set(d, "openapi", "3.1.0")),
    ]
}

/// Edits of `proto/`.
pub(crate) fn of_proto() -> Vec<Edit> {
    vec![
        assistant(
            "a field is removed",
            "  // The price of one piece in minor units of `currency`, never negative.\n  int64 price_cents = 6;\n",
            "",
        ),
        assistant(
            "a field is removed and reserved",
            "  // Pieces that can still be sold, never negative.\n  int32 stock = 8;\n",
            "  reserved 8;\n  reserved \"stock\";\n",
        ),
        assistant("a field has another number", "  int64 version = 9;", "  int64 version = 10;"),
        assistant(
            "a field has another type",
            "  int64 price_cents = 6;",
            "  double price_cents = 6;",
        ),
        assistant(
            "a field's type is compatible on the wire only",
            "  int64 price_cents = 6;",
            "  uint64 price_cents = 6;",
        ),
        assistant(
            "a field has another name",
            "  int64 unit_price_cents = 5;",
            "  int64 unit_cents = 5;",
        ),
        assistant(
            "two fields have changed their names",
            "  string name = 2;\n  // 1 to 50 characters.\n  string category = 3;",
            "  string category = 2;\n  // 1 to 50 characters.\n  string name = 3;",
        ),
        assistant(
            "a field is a list now",
            "  Order order = 1;\n    // Why not.",
            "  OrderRefusal order = 1;\n    // Why not.",
        ),
        assistant(
            "a single field is repeated",
            "  int32 stock = 8;",
            "  repeated int32 stock = 8;",
        ),
        assistant(
            "a field's presence is told",
            "  bool active = 5;",
            "  optional bool active = 5;",
        ),
        assistant(
            "a field's presence is told no more",
            "  optional string email = 5;",
            "  string email = 5;",
        ),
        assistant(
            "a field has gone into a choice",
            "  // The W3C trace id, 32 lower-case hexadecimal digits, or empty.\n  string trace_id = 2;\n",
            "  // At most one.\n  oneof trace {\n    // The W3C trace id, 32 lower-case hexadecimal digits, or empty.\n    string trace_id = 2;\n  }\n",
        ),
        assistant(
            "a field has left a choice",
            "    Caller caller = 2;\n  }\n",
            "  }\n  // Alone.\n  Caller caller = 2;\n",
        ),
        assistant(
            "a choice that is answered has another outcome",
            "    OrderRefusal refusal = 2;\n",
            "    OrderRefusal refusal = 2;\n    // Later.\n    string ticket = 3;\n",
        ),
        assistant(
            "an enum's value is removed",
            "  // UNAVAILABLE: more requests are waiting than the service takes.\n  ERROR_REASON_OVERLOADED = 14;\n",
            "",
        ),
        assistant(
            "an enum's value has another number",
            "  ERROR_REASON_OVERLOADED = 14;",
            "  ERROR_REASON_OVERLOADED = 15;",
        ),
        assistant(
            "an enum's value has another name",
            "  ORDER_STATUS_CANCELLED = 2;",
            "  ORDER_STATUS_CANCELED = 2;",
        ),
        assistant(
            "a method is removed",
            "  rpc CancelOrder(CancelOrderRequest) returns (CancelOrderResponse);\n",
            "",
        ),
        assistant("a method has another name", "  rpc PlaceOrders(", "  rpc PlaceMany("),
        assistant(
            "a method takes a stream",
            "  rpc PlaceOrders(PlaceOrdersRequest)",
            "  rpc PlaceOrders(stream PlaceOrdersRequest)",
        ),
        assistant(
            "a method answers another message",
            "  rpc GetOrder(GetOrderRequest) returns (GetOrderResponse);",
            "  rpc GetOrder(GetOrderRequest) returns (CancelOrderResponse);",
        ),
        assistant(
            "the service has another name",
            "service AssistantService {",
            "service StoreService {",
        ),
        assistant(
            "the package is another",
            "package merch.assistant.v1;",
            "package merch.assistant.v2;",
        ),
        assistant(
            "the rule of a field is narrower",
            "  // How many, 1 to 3.\n  int32 quantity = 4;",
            "  // How many, 1 to 2.\n  int32 quantity = 4;",
        ),
        assistant(
            "the rule of an answer is wider",
            "  // 1 to 3.\n  int32 quantity = 4;\n  // What one piece",
            "  // 1 to 5.\n  int32 quantity = 4;\n  // What one piece",
        ),
        assistant("the rule of a field is gone", "  // How many, 1 to 3.\n", "  // How many.\n"),
        assistant(
            "generated Java has another package",
            "package merch.assistant.v1;\n",
            "package merch.assistant.v1;\n\noption java_package = \"cn.sustech.merch\";\n",
        ),
        logging(
            "the topic's field has another name in JSON",
            "  string request_id = 9;",
            "  string request_id = 9 [json_name = \"request_id\"];",
        ),
        logging("the topic's field has another name", "  string event = 6;", "  string kind = 6;"),
        logging(
            "the topic's field has another type",
            "  map<string, string> attributes = 12;",
            "  map<string, bytes> attributes = 12;",
        ),
        logging(
            "the topic's level is new",
            "  LEVEL_ERROR = 4;\n",
            "  LEVEL_ERROR = 4;\n  // Worse.\n  LEVEL_FATAL = 5;\n",
        ),
        logging(
            "the stream is none",
            "(stream StreamLogsRequest) returns (stream StreamLogsResponse)",
            "(StreamLogsRequest) returns (stream StreamLogsResponse)",
        ),
        logging(
            "the acknowledgement has another type",
            "  uint64 acknowledged_sequence = 1;",
            "  int64 acknowledged_sequence = 1;",
        ),
    ]
}
