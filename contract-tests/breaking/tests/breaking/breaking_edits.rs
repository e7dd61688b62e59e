//! Edits that the gate has to refuse.

use serde_json::json;

use crate::edits::{
    Edit, assistant, at, logging, openapi, openapi_given, push, refer, remove, rename, reword, set,
    take,
};

const ORDER: &str = "components schemas Order";
const NEW_ORDER: &str = "components schemas Purchase";

/// Edits of `openapi.yaml`.
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
        openapi_given(
            "deprecated operation removed",
            |d| set(d, "paths /logout post deprecated", true),
            |d| drop(remove(d, "paths /logout")),
        ),
        openapi_given(
            "draft operation removed",
            |d| set(d, "paths /logout post x-stability-level", "draft"),
            |d| drop(remove(d, "paths /logout")),
        ),
        openapi("operation removed", |d| drop(remove(d, "paths /orders post"))),
        openapi("path removed", |d| drop(remove(d, "paths /logout"))),
        openapi("path renamed", |d| {
            rename(d, "paths /orders/{order_id}/cancel", "/orders/{order_id}/cancellation")
        }),
        openapi("trailing slash added to a path", |d| rename(d, "paths /orders", "/orders/")),
        openapi("method changed", |d| rename(d, "paths /users/{user_id} patch", "put")),
        openapi("operationId changed", |d| {
            set(d, "paths /orders post operationId", "create_order")
        }),
        openapi("operationId removed", |d| drop(remove(d, "paths /orders post operationId"))),
        openapi("tag changed", |d| set(d, "paths /login post tags", json!(["Dialog"]))),
        openapi("first tag changed, old tag kept", |d| {
            set(d, "paths /login post tags", json!(["Dialog", "UserManager"]))
        }),
        openapi("operationIds of two operations swapped", |d| {
            set(d, "paths /orders get operationId", "get_order");
            set(d, "paths /orders/{order_id} get operationId", "list_orders");
        }),
        openapi("path parameter renamed", |d| {
            rename(d, "paths /orders/{order_id}", "/orders/{id}");
            set(d, "components parameters OrderId name", "id");
            rename(d, "paths /orders/{order_id}/cancel", "/orders/{id}/cancel");
        }),
        openapi("pagination extension removed", |d| {
            drop(remove(d, "paths /products get x-dropshot-pagination"))
        }),
        openapi("generator extension added", |d| {
            set(d, "components schemas Order x-go-name", "Purchase")
        }),
    ]
}

fn requests() -> Vec<Edit> {
    vec![
        openapi_given(
            "deprecated parameter removed",
            |d| set(d, "paths /orders get parameters 2 deprecated", true),
            |d| drop(remove(d, "paths /orders get parameters 2")),
        ),
        openapi("required query parameter added", |d| {
            push(
                d,
                "paths /products get parameters",
                json!({ "name": "region", "in": "query", "required": true, "schema": { "type": "string" } }),
            );
        }),
        openapi("required header added to a path", |d| {
            push(
                d,
                "paths /orders/{order_id} parameters",
                json!({ "name": "X-Tenant", "in": "header", "required": true, "schema": { "type": "string" } }),
            );
        }),
        openapi("query parameter removed", |d| drop(remove(d, "paths /orders get parameters 2"))),
        openapi("query parameter renamed", |d| {
            set(d, "components parameters PageToken name", "cursor")
        }),
        openapi("query parameter moved to a header", |d| {
            set(d, "components parameters Limit in", "header")
        }),
        openapi("parameter made required", |d| {
            set(d, "paths /orders post parameters 0 required", true)
        }),
        openapi("shared parameter made required", |d| {
            set(d, "components parameters Limit required", true)
        }),
        openapi("parameter maximum lowered", |d| {
            set(d, "components parameters Limit schema maximum", 50)
        }),
        openapi("parameter minimum raised", |d| {
            set(d, "components parameters Limit schema minimum", 5)
        }),
        openapi("parameter default changed", |d| {
            set(d, "components parameters Limit schema default", 50)
        }),
        openapi("parameter default removed", |d| {
            drop(remove(d, "components parameters Limit schema default"))
        }),
        openapi("parameter type changed", |d| {
            set(
                d,
                "components parameters PageToken schema",
                json!({ "type": "integer", "format": "int64" }),
            )
        }),
        openapi("parameter pattern added", |d| {
            set(d, "components parameters PageToken schema pattern", "^[a-z]+$")
        }),
        openapi("parameter pattern changed", |d| {
            set(d, "paths /orders post parameters 0 schema pattern", "^[a-z0-9]{1,255}$")
        }),
        openapi("parameter enum value removed", |d| {
            set(
                d,
                "paths /orders get parameters 2 schema",
                json!({ "type": "string", "enum": ["placed"] }),
            )
        }),
        openapi("parameter made an array", |d| {
            set(
                d,
                "paths /orders get parameters 2 schema",
                json!({ "type": "array", "items": { "type": "string" } }),
            )
        }),
        openapi("parameter style changed", |d| {
            set(d, "components parameters PageToken style", "spaceDelimited");
        }),
        openapi("parameter explode changed", |d| {
            set(d, "components parameters PageToken explode", false)
        }),
        openapi("parameter serialised as JSON", |d| {
            let schema = remove(d, "components parameters PageToken schema");
            set(
                d,
                "components parameters PageToken content",
                json!({ "application/json": { "schema": schema } }),
            );
        }),
        openapi("required request body added", |d| {
            set(
                d,
                "paths /logout post requestBody",
                json!({ "required": true, "content": { "application/json": { "schema": { "type": "object" } } } }),
            );
        }),
        openapi("request body removed", |d| {
            drop(remove(d, "paths /users/{user_id} patch requestBody"))
        }),
        openapi_given(
            "request body made required",
            |d| set(d, "paths /users/{user_id} patch requestBody required", false),
            |d| set(d, "paths /users/{user_id} patch requestBody required", true),
        ),
        openapi("request media type changed", |d| {
            rename(
                d,
                "paths /orders post requestBody content application/json",
                "application/x-www-form-urlencoded",
            )
        }),
        openapi("request schema changed", |d| {
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
        openapi_given(
            "optional response header removed",
            |d| {
                let header = json!({ "schema": { "type": "string" } });
                set(d, "paths /orders post responses 201 headers X-Note", header);
            },
            |d| drop(remove(d, "paths /orders post responses 201 headers X-Note")),
        ),
        openapi("success status changed", |d| rename(d, "paths /orders post responses 201", "200")),
        openapi("second success status added", |d| {
            set(
                d,
                "paths /orders post responses 202",
                json!({ "description": "Taken, and not yet placed." }),
            )
        }),
        openapi("redirection added", |d| {
            set(d, "paths /products get responses 307", json!({ "description": "Elsewhere." }))
        }),
        openapi("error status removed", |d| drop(remove(d, "paths /orders post responses 409"))),
        openapi("error status changed", |d| rename(d, "paths /orders post responses 409", "410")),
        openapi("304 removed", |d| {
            drop(remove(d, "paths /products/{product_id} get responses 304"))
        }),
        openapi("default response added", |d| {
            set(d, "paths /orders post responses default", json!({ "description": "Anything." }))
        }),
        openapi("error with its own body added", |d| {
            set(
                d,
                "paths /orders post responses 402",
                json!({ "description": "Pay.", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Order" } } } }),
            );
        }),
        openapi("error without a body added", |d| {
            set(d, "paths /orders post responses 402", json!({ "description": "Pay." }))
        }),
        openapi("error media type changed", |d| {
            rename(
                d,
                "components responses OutOfStock content application/problem+json",
                "application/json",
            )
        }),
        openapi("response content removed", |d| {
            drop(remove(d, "paths /products get responses 200 content"))
        }),
        openapi("response media type added", |d| {
            set(
                d,
                "paths /products get responses 200 content text/csv",
                json!({ "schema": { "type": "string" } }),
            );
        }),
        openapi("body added to an empty response", |d| {
            set(
                d,
                "paths /logout post responses 204 content",
                json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Greeting" } } }),
            );
        }),
        openapi("response schema changed", |d| {
            set(
                d,
                "paths /orders/{order_id} get responses 200 content application/json schema $ref",
                "#/components/schemas/Product",
            );
        }),
        openapi("response made an array", |d| {
            set(
                d,
                "paths /products get responses 200 content application/json schema",
                json!({ "type": "array", "items": { "$ref": "#/components/schemas/Product" } }),
            );
        }),
        openapi("response header removed", |d| {
            drop(remove(d, "paths /orders post responses 201 headers Location"))
        }),
        openapi("response header renamed", |d| {
            rename(d, "components responses TooManyAttempts headers Retry-After", "X-Retry-After")
        }),
        openapi("response header made optional", |d| {
            set(d, "components headers ETag required", false)
        }),
        openapi("response header type changed", |d| {
            set(
                d,
                "components headers RetryAfter schema",
                json!({ "type": "string", "format": "date-time" }),
            )
        }),
        openapi("response header pattern widened", |d| {
            set(d, "components headers ETag schema pattern", "^(W/)?\"[0-9]+\"$")
        }),
        openapi("response header minimum removed", |d| {
            drop(remove(d, "components headers RetryAfter schema minimum"))
        }),
        openapi_given(
            "link removed",
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
            "link target changed",
            |d| {
                set(
                    d,
                    "paths /orders post responses 201 links",
                    json!({ "Read": { "operationId": "get_order", "parameters": { "order_id": "$response.body#/id" } } }),
                )
            },
            |d| set(d, "paths /orders post responses 201 links Read operationId", "cancel_order"),
        ),
        openapi("problem code changed", |d| {
            reword(d, "components responses OutOfStock description", "`out_of_stock`", "`sold_out`")
        }),
        openapi("problem code removed from the list", |d| {
            reword(d, "components schemas Problem description", "`email_taken`, ", "")
        }),
    ]
}

fn request_schemas() -> Vec<Edit> {
    vec![
        openapi("request member removed", |d| {
            remove(d, "components schemas UserChange properties email");
        }),
        openapi("required request member added", |d| {
            set(d, &format!("{NEW_ORDER} properties address"), json!({ "type": "string" }));
            push(d, &format!("{NEW_ORDER} required"), "address");
        }),
        openapi("request member renamed", |d| {
            rename(d, "components schemas UserChange properties email", "mail");
        }),
        openapi("request member made required", |d| {
            set(d, "components schemas UserChange required", json!(["email"]))
        }),
        openapi("request maximum lowered", |d| {
            set(d, &format!("{NEW_ORDER} properties quantity maximum"), 2)
        }),
        openapi("request minimum made exclusive", |d| {
            set(d, &format!("{NEW_ORDER} properties quantity exclusiveMinimum"), true)
        }),
        openapi("request multipleOf added", |d| {
            set(d, &format!("{NEW_ORDER} properties quantity multipleOf"), 3)
        }),
        openapi("request maxLength lowered", |d| set(d, "components schemas Sid maxLength", 8)),
        openapi("request minLength raised", |d| {
            set(d, "components schemas Registration properties password minLength", 12)
        }),
        openapi("request pattern changed", |d| {
            set(d, "components schemas Sid pattern", "^[0-9]{1,15}$")
        }),
        openapi("request pattern added", |d| {
            set(d, "components schemas Category pattern", "^[A-Z]")
        }),
        openapi("request format changed", |d| {
            set(d, "components schemas Email format", "idn-email")
        }),
        openapi("request format removed", |d| drop(remove(d, "components schemas UserId format"))),
        openapi("request integer widened", |d| {
            set(d, &format!("{NEW_ORDER} properties quantity format"), "int64")
        }),
        openapi("request integer made a number", |d| {
            set(d, &format!("{NEW_ORDER} properties quantity type"), "number")
        }),
        openapi("request enum added", |d| {
            set(
                d,
                "components schemas Category enum",
                json!(["Apparel", "Drinkware", "Stationery"]),
            )
        }),
        openapi_given(
            "request null refused",
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
            "request schema closed",
            |d| drop(remove(d, "components schemas Purchase additionalProperties")),
            |d| set(d, "components schemas Purchase additionalProperties", false),
        ),
        openapi("request made a oneOf", |d| {
            let alternatives = json!([{ "$ref": "#/components/schemas/Purchase" }, { "$ref": "#/components/schemas/Registration" }]);
            set(
                d,
                "paths /orders post requestBody content application/json schema",
                json!({ "oneOf": alternatives }),
            );
        }),
        openapi("request minProperties added", |d| {
            set(d, "components schemas UserChange minProperties", 2)
        }),
        openapi("request member default added", |d| {
            set(
                d,
                "components schemas UserChange properties email",
                json!({ "type": "string", "default": "unknown@example.com" }),
            )
        }),
    ]
}

fn response_schemas() -> Vec<Edit> {
    vec![
        openapi_given(
            "deprecated optional response member removed",
            |d| {
                let note = json!({ "type": "string", "deprecated": true });
                set(d, &format!("{ORDER} properties note"), note);
            },
            |d| drop(remove(d, &format!("{ORDER} properties note"))),
        ),
        openapi("response member removed", |d| {
            remove(d, &format!("{ORDER} properties currency"));
            take(d, &format!("{ORDER} required"), "currency");
        }),
        openapi("response member renamed", |d| {
            rename(d, &format!("{ORDER} properties total_price_cents"), "total_cents");
            take(d, &format!("{ORDER} required"), "total_price_cents");
            push(d, &format!("{ORDER} required"), "total_cents");
        }),
        openapi("response member made optional", |d| {
            take(d, &format!("{ORDER} required"), "status")
        }),
        openapi("all response members made optional", |d| {
            drop(remove(d, &format!("{ORDER} required")))
        }),
        openapi("response member made nullable", |d| {
            set(d, &format!("{ORDER} properties created_at nullable"), true)
        }),
        openapi("response integer made a number", |d| {
            set(d, &format!("{ORDER} properties unit_price_cents type"), "number");
            set(d, &format!("{ORDER} properties unit_price_cents format"), "double");
        }),
        openapi("response integer made a string", |d| {
            set(d, &format!("{ORDER} properties unit_price_cents"), json!({ "type": "string" }));
        }),
        openapi("response integer narrowed", |d| {
            set(d, "components schemas Product properties price_cents format", "int32")
        }),
        openapi("response timestamp made an integer", |d| {
            set(
                d,
                &format!("{ORDER} properties created_at"),
                json!({ "type": "integer", "format": "int64" }),
            );
        }),
        openapi("response format removed", |d| {
            drop(remove(d, "components schemas User properties created_at format"))
        }),
        openapi("response format added", |d| {
            set(d, "components schemas Problem properties request_id format", "uuid")
        }),
        openapi("response enum value added", |d| {
            push(d, "components schemas OrderStatus enum", "shipped")
        }),
        openapi("response enum value removed", |d| {
            take(d, "components schemas Fault properties in enum", "query")
        }),
        openapi("response enum values renamed", |d| {
            set(d, "components schemas OrderStatus enum", json!(["PLACED", "CANCELLED"]))
        }),
        openapi("response enum removed", |d| {
            drop(remove(d, "components schemas Fault properties in enum"))
        }),
        openapi("response maximum raised", |d| {
            set(d, &format!("{ORDER} properties quantity maximum"), 10)
        }),
        openapi("response maximum removed", |d| {
            drop(remove(d, "components schemas Problem properties status maximum"))
        }),
        openapi("response minimum lowered", |d| {
            set(d, "components schemas Product properties stock minimum", -1)
        }),
        openapi("response maxLength raised", |d| {
            set(d, "components schemas Product properties description maxLength", 4000)
        }),
        openapi("response pattern removed", |d| {
            drop(remove(d, "components schemas Currency pattern"))
        }),
        openapi_given(
            "closed response opened",
            |d| set(d, "components schemas GreetingLinks additionalProperties", false),
            |d| drop(remove(d, "components schemas GreetingLinks additionalProperties")),
        ),
        openapi_given(
            "member added to a closed response",
            |d| set(d, "components schemas GreetingLinks additionalProperties", false),
            |d| {
                set(
                    d,
                    "components schemas GreetingLinks properties reference",
                    json!({ "type": "string" }),
                )
            },
        ),
        openapi("page item type changed", |d| {
            set(
                d,
                "components schemas OrderPage properties items items",
                json!({ "$ref": "#/components/schemas/OrderId" }),
            )
        }),
        openapi("page items made an object", |d| {
            set(
                d,
                "components schemas OrderPage properties items",
                json!({ "type": "object", "additionalProperties": { "$ref": "#/components/schemas/Order" } }),
            )
        }),
        openapi("page members made optional", |d| {
            drop(remove(d, "components schemas ProductPage required"))
        }),
        openapi("response discriminator added", |d| {
            set(d, "components schemas Problem discriminator", json!({ "propertyName": "code" }))
        }),
        openapi("member made readOnly", |d| {
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
        openapi("token required", |d| {
            set(d, "paths /products get security", json!([{ "bearerAuth": [] }]))
        }),
        openapi("token no longer required", |d| set(d, "paths /orders get security", json!([]))),
        openapi("token made optional", |d| push(d, "paths /orders get security", json!({}))),
        openapi("scope required", |d| {
            set(d, "paths /orders get security", json!([{ "bearerAuth": ["orders"] }]))
        }),
        openapi("another security scheme required", |d| {
            set(
                d,
                "components securitySchemes key",
                json!({ "type": "apiKey", "in": "header", "name": "X-Key" }),
            );
            set(d, "paths /orders get security", json!([{ "key": [] }]));
        }),
        openapi("second security scheme required", |d| {
            set(
                d,
                "components securitySchemes key",
                json!({ "type": "apiKey", "in": "header", "name": "X-Key" }),
            );
            set(d, "paths /orders get security", json!([{ "bearerAuth": [], "key": [] }]));
        }),
        openapi("security scheme made basic", |d| {
            set(d, "components securitySchemes bearerAuth scheme", "basic")
        }),
        openapi("security scheme renamed", |d| {
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
        openapi("server changed", |d| set(d, "servers 0 url", "/v2")),
        openapi("another server put first", |d| {
            let servers = at(d, "servers").as_array_mut().unwrap();
            servers.insert(0, json!({ "url": "https://merch.example.com" }));
        }),
        openapi("operation server added", |d| {
            set(d, "paths /orders post servers", json!([{ "url": "https://orders.example.com" }]))
        }),
        openapi("schema renamed", |d| {
            rename(d, "components schemas Order", "Purchase");
            refer(d, "#/components/schemas/Order", "#/components/schemas/Purchase");
        }),
        openapi_given(
            "schema replaced by an equal one",
            |d| {
                let order = at(d, ORDER).clone();
                set(d, "components schemas OrderCopy", order);
            },
            |d| {
                let response = at(d, "paths /orders/{order_id} get responses 200");
                refer(response, "#/components/schemas/Order", "#/components/schemas/OrderCopy");
            },
        ),
        openapi("schema inlined", |d| {
            let links = remove(d, "components schemas GreetingLinks");
            set(d, "components schemas Greeting properties links", links);
        }),
        openapi("OpenAPI version changed", |d| set(d, "openapi", "3.1.0")),
    ]
}

/// Edits of `proto/`.
pub(crate) fn of_proto() -> Vec<Edit> {
    vec![
        assistant(
            "field removed",
            "  // The price of one piece in minor units of `currency`.\n  int64 price_cents = 6 [(buf.validate.field).int64.gte = 0];\n",
            "",
        ),
        assistant(
            "field removed and reserved",
            "  // The number of pieces that can still be sold.\n  int32 stock = 8 [(buf.validate.field).int32.gte = 0];\n",
            "  reserved 8;\n  reserved \"stock\";\n",
        ),
        assistant("field renumbered", "  int64 version = 9 [", "  int64 version = 10 ["),
        assistant(
            "field type changed",
            "  int64 price_cents = 6 [(buf.validate.field).int64.gte = 0];",
            "  double price_cents = 6;",
        ),
        assistant(
            "field type changed, wire-compatible",
            "  int64 price_cents = 6 [(buf.validate.field).int64.gte = 0];",
            "  uint64 price_cents = 6;",
        ),
        assistant("field renamed", "  int64 unit_price_cents = 5 [", "  int64 unit_cents = 5 ["),
        assistant(
            "names of two fields swapped",
            "  string name = 2 [(buf.validate.field).string = {\n    min_len: 1\n    max_len: 100\n  }];\n  // The category, which filters can select.\n  string category = 3 [",
            "  string category = 2 [(buf.validate.field).string = {\n    min_len: 1\n    max_len: 100\n  }];\n  // The category, which filters can select.\n  string name = 3 [",
        ),
        assistant(
            "field message type changed",
            "    Order order = 1;\n    // The refusal.",
            "    OrderRefusal order = 1;\n    // The refusal.",
        ),
        assistant(
            "field made repeated",
            "  int32 stock = 8 [(buf.validate.field).int32.gte = 0];",
            "  repeated int32 stock = 8;",
        ),
        assistant("field made optional", "  bool active = 5;", "  optional bool active = 5;"),
        assistant(
            "optional label removed",
            "  optional string email = 5 [",
            "  string email = 5 [",
        ),
        assistant(
            "field moved into a oneof",
            "  // The `X-Request-Id` of the HTTP request, or empty.\n  string request_id = 1 [(buf.validate.field).string = {\n    max_len: 128\n    pattern: \"^[!-~]*$\"\n  }];\n",
            "  // At most one.\n  oneof id {\n    // The `X-Request-Id` of the HTTP request, or empty.\n    string request_id = 1 [(buf.validate.field).string = {\n      max_len: 128\n      pattern: \"^[!-~]*$\"\n    }];\n  }\n",
        ),
        assistant(
            "field moved out of a oneof",
            "    Caller caller = 2;\n  }\n  // The client's network",
            "  }\n  // Alone.\n  Caller caller = 2;\n  // The client's network",
        ),
        assistant(
            "response oneof outcome added",
            "    OrderRefusal refusal = 2;\n",
            "    OrderRefusal refusal = 2;\n    // Later.\n    string ticket = 3;\n",
        ),
        assistant(
            "enum value removed",
            "  // UNAVAILABLE: the queue of waiting requests is full.\n  ERROR_REASON_OVERLOADED = 14;\n",
            "",
        ),
        assistant(
            "enum value renumbered",
            "  ERROR_REASON_OVERLOADED = 14;",
            "  ERROR_REASON_OVERLOADED = 17;",
        ),
        assistant(
            "enum value renamed",
            "  ORDER_STATUS_CANCELLED = 2;",
            "  ORDER_STATUS_CANCELED = 2;",
        ),
        assistant(
            "method removed",
            "  rpc CancelOrder(CancelOrderRequest) returns (CancelOrderResponse);\n",
            "",
        ),
        assistant("method renamed", "  rpc PlaceOrders(", "  rpc PlaceMany("),
        assistant(
            "method request made a stream",
            "  rpc PlaceOrders(PlaceOrdersRequest)",
            "  rpc PlaceOrders(stream PlaceOrdersRequest)",
        ),
        assistant(
            "method response changed",
            "  rpc GetOrder(GetOrderRequest) returns (GetOrderResponse);",
            "  rpc GetOrder(GetOrderRequest) returns (CancelOrderResponse);",
        ),
        assistant("service renamed", "service AssistantService {", "service StoreService {"),
        logging("package changed", "package merch.logging.v1;", "package merch.logging.v2;"),
        assistant(
            "request rule narrowed",
            "    lte: 3\n  }];\n  // Visible ASCII",
            "    lte: 2\n  }];\n  // Visible ASCII",
        ),
        assistant(
            "request rule added",
            "  int32 product_id = 1;\n}\n\n// The requested product.",
            "  int32 product_id = 1 [(buf.validate.field).int32.gte = 1];\n}\n\n// The requested product.",
        ),
        assistant(
            "request message made required",
            "message CreateUserRequest {\n  // The origin of the request.\n  RequestContext context = 1;",
            "message CreateUserRequest {\n  // The origin of the request.\n  RequestContext context = 1 [(buf.validate.field).required = true];",
        ),
        assistant(
            "required request field added",
            "message GetProductRequest {\n",
            "message GetProductRequest {\n  // The acting user.\n  Caller caller = 2 [(buf.validate.field).required = true];\n",
        ),
        assistant(
            "request field that must not be empty added",
            "message GetProductRequest {\n",
            "message GetProductRequest {\n  // Why.\n  string reason = 2 [(buf.validate.field).string.min_len = 1];\n",
        ),
        logging(
            "topic field that must not be empty added",
            "  string message = 11;\n",
            "  string message = 11;\n  // Where.\n  string region = 13 [(buf.validate.field).string.min_len = 1];\n",
        ),
        assistant(
            "response rule widened",
            "    lte: 3\n  }];\n  // The price of one piece",
            "    lte: 5\n  }];\n  // The price of one piece",
        ),
        assistant(
            "response rule removed",
            "  int64 total_price_cents = 6 [(buf.validate.field).int64.gte = 0];",
            "  int64 total_price_cents = 6;",
        ),
        logging(
            "topic rule changed",
            "(_[a-z0-9]+)*$\"\n  }];\n  // The actor",
            "([._][a-z0-9]+)*$\"\n  }];\n  // The actor",
        ),
        assistant(
            "java_package added",
            "package merch.assistant.v1;\n",
            "package merch.assistant.v1;\n\noption java_package = \"cn.sustech.merch\";\n",
        ),
        logging(
            "topic field JSON name changed",
            "  string request_id = 9;",
            "  string request_id = 9 [json_name = \"request_id\"];",
        ),
        logging("topic field renamed", "  string event = 6 [", "  string kind = 6 ["),
        logging("topic field type changed", "  string message = 11;", "  bytes message = 11;"),
        logging(
            "topic enum value added",
            "  LEVEL_ERROR = 4;\n",
            "  LEVEL_ERROR = 4;\n  // Worse.\n  LEVEL_FATAL = 5;\n",
        ),
        logging(
            "stream made unary",
            "(stream StreamLogsRequest) returns (stream StreamLogsResponse)",
            "(StreamLogsRequest) returns (stream StreamLogsResponse)",
        ),
        logging(
            "acknowledgement type changed",
            "  uint64 acknowledged_sequence = 1;",
            "  int64 acknowledged_sequence = 1;",
        ),
    ]
}
