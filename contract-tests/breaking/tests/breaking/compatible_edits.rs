//! Edits that break nobody.

use serde_json::json;

use crate::edits::{
    Edit, assistant, at, logging, openapi, openapi_given, push, refer, remove, reword, set, take,
};

/// Edits of `openapi.yaml`.
pub(crate) fn of_openapi() -> Vec<Edit> {
    vec![
        openapi("a description is another", |d| {
            set(d, "paths /orders post description", "Buys something.")
        }),
        openapi("a summary, an example and a schema's description are others", |d| {
            set(d, "paths /orders post summary", "Buy");
            set(d, "components schemas Sid example", "12345678");
            set(d, "components schemas Order description", "A purchase.");
        }),
        openapi("an example is another", |d| {
            set(
                d,
                "components responses OutOfStock content application/problem+json examples out_of_stock summary",
                "Sold out",
            )
        }),
        openapi("a code sample is new", |d| {
            set(
                d,
                "paths /orders post x-codeSamples",
                json!([{ "lang": "Shell", "source": "curl" }]),
            )
        }),
        openapi("the title, the contact and the licence are others", |d| {
            set(d, "info title", "The Store");
            set(d, "info contact name", "Somebody");
            set(d, "info license name", "MIT");
        }),
        openapi("a tag is described in other words", |d| set(d, "tags 0 description", "Greets.")),
        openapi("an operation is new", |d| {
            let operation = json!({
                "tags": ["OrderManager"], "operationId": "get_receipt", "summary": "Read a receipt", "security": [{ "bearerAuth": [] }],
                "parameters": [{ "$ref": "#/components/parameters/OrderId" }],
                "responses": { "200": { "description": "It.", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Order" } } } } }
            });
            set(d, "paths /orders/{order_id}/receipt", json!({ "get": operation }));
        }),
        openapi("a method is new at a path", |d| {
            set(
                d,
                "paths /products head",
                json!({ "tags": ["ProductManager"], "operationId": "head_products", "responses": { "204": { "description": "There." } } }),
            )
        }),
        openapi("an optional query parameter is new", |d| {
            push(
                d,
                "paths /products get parameters",
                json!({ "name": "max_price_cents", "in": "query", "schema": { "type": "integer", "format": "int64" } }),
            );
        }),
        openapi("an optional header is new", |d| {
            push(
                d,
                "paths /orders get parameters",
                json!({ "name": "Prefer", "in": "header", "schema": { "type": "string" } }),
            )
        }),
        openapi("parameters stand in another order", |d| {
            at(d, "paths /products get parameters").as_array_mut().unwrap().reverse()
        }),
        openapi("a header's name is written in another case", |d| {
            set(d, "paths /orders post parameters 0 name", "idempotency-key")
        }),
        openapi("a parameter's maximum is higher", |d| {
            set(d, "components parameters Limit schema maximum", 200)
        }),
        openapi("a parameter's minimum is lower", |d| {
            set(d, "components parameters Limit schema minimum", 0)
        }),
        openapi("a parameter's pattern is gone", |d| {
            drop(remove(d, "paths /orders post parameters 0 schema pattern"))
        }),
        openapi_given(
            "a parameter is not required any more",
            |d| set(d, "components parameters IfMatch required", true),
            |d| drop(remove(d, "components parameters IfMatch required")),
        ),
        openapi("the default way to write a parameter is told", |d| {
            set(d, "components parameters Limit style", "form");
            set(d, "components parameters Limit explode", true);
            set(d, "components parameters Limit required", false);
        }),
        openapi("a request's optional member is new", |d| {
            set(
                d,
                "components schemas Purchase properties note",
                json!({ "type": "string", "maxLength": 100 }),
            )
        }),
        openapi("a request's member is not required any more", |d| {
            take(d, "components schemas PasswordChange required", "current_password")
        }),
        openapi("a request's maximum is higher", |d| {
            set(d, "components schemas Purchase properties quantity maximum", 5)
        }),
        openapi("a request's text may be shorter", |d| {
            set(d, "components schemas Registration properties password minLength", 6)
        }),
        openapi("a request's schema is open", |d| {
            drop(remove(d, "components schemas Purchase additionalProperties"))
        }),
        openapi("a request's member may be null", |d| {
            set(d, "components schemas Purchase properties quantity nullable", true)
        }),
        openapi("another media type is taken", |d| {
            set(
                d,
                "paths /orders post requestBody content application/cbor",
                json!({ "schema": { "$ref": "#/components/schemas/Purchase" } }),
            );
        }),
        openapi("a request's body is optional", |d| {
            set(d, "paths /users/{user_id} patch requestBody required", false)
        }),
        openapi("a response's member is new", |d| {
            set(
                d,
                "components schemas Order properties shipped_at",
                json!({ "type": "string", "format": "date-time", "nullable": true }),
            )
        }),
        openapi("a response's required member is new", |d| {
            set(
                d,
                "components schemas Product properties weight_grams",
                json!({ "type": "integer", "format": "int32" }),
            );
            push(d, "components schemas Product required", "weight_grams");
        }),
        openapi("a response's member is always there", |d| {
            push(d, "components schemas OrderPage required", "next_page")
        }),
        openapi("a response's maximum is lower", |d| {
            set(d, "components schemas Order properties quantity maximum", 2)
        }),
        openapi("a response's pattern is new", |d| {
            set(d, "components schemas Problem properties request_id pattern", "^.+$")
        }),
        openapi("a response's member is never null any more", |d| {
            drop(remove(d, "components schemas Order properties cancelled_at nullable"))
        }),
        openapi("an error's status is new, with the body of all errors", |d| {
            set(
                d,
                "paths /orders get responses 429",
                json!({ "$ref": "#/components/responses/TooManyAttempts" }),
            );
        }),
        openapi("a header is new", |d| {
            set(
                d,
                "paths /orders get responses 200 headers",
                json!({ "X-Total": { "schema": { "type": "integer" } } }),
            )
        }),
        openapi("a problem's code is new", |d| {
            reword(
                d,
                "components schemas Problem description",
                "`out_of_stock`, ",
                "`out_of_stock`, `sale_closed`, ",
            )
        }),
        openapi_given(
            "a link is new",
            |d| set(d, "paths /orders post responses 201 links", json!({})),
            |d| {
                let link = json!({ "operationId": "get_user", "parameters": { "user_id": "$response.body#/user_id" } });
                set(d, "paths /orders post responses 201 links ReadBuyer", link);
            },
        ),
        openapi("an operation is deprecated", |d| set(d, "paths /logout post deprecated", true)),
        openapi("a member is deprecated", |d| {
            set(d, "components schemas Product properties slogan deprecated", true)
        }),
        openapi("an operation has a second tag", |d| push(d, "paths /login post tags", "Dialog")),
        openapi("a second server is there", |d| {
            push(d, "servers", json!({ "url": "https://merch.example.com" }))
        }),
        openapi("another scheme is good, too", |d| {
            set(
                d,
                "components securitySchemes key",
                json!({ "type": "apiKey", "in": "header", "name": "X-Key" }),
            );
            push(d, "paths /orders get security", json!({ "key": [] }));
        }),
        openapi("security is said once for all, and means the same", |d| {
            set(d, "security", json!([{ "bearerAuth": [] }]));
            remove(d, "paths /orders get security");
        }),
        openapi("a schema is new, and nobody uses it", |d| {
            set(d, "components schemas Coupon", json!({ "type": "object" }))
        }),
        openapi("a nameless schema has a name", |d| {
            let quantity = remove(d, "components schemas Purchase properties quantity");
            set(d, "components schemas Quantity", quantity);
            set(
                d,
                "components schemas Purchase properties quantity",
                json!({ "$ref": "#/components/schemas/Quantity" }),
            );
        }),
        openapi("a simple type stands where it is used", |d| {
            let currency = at(d, "components schemas Currency").clone();
            set(d, "components schemas Product properties currency", currency);
        }),
        openapi("a shared response stands where it is used", |d| {
            let response = at(d, "components responses NotModified").clone();
            set(d, "paths /products/{product_id} get responses 304", response);
        }),
        openapi("a shared parameter has another name among the components", |d| {
            let parameter = remove(d, "components parameters IfNoneMatch");
            set(d, "components parameters NoneMatch", parameter);
            refer(d, "#/components/parameters/IfNoneMatch", "#/components/parameters/NoneMatch");
        }),
        openapi("a path's parameter stands at its operations", |d| {
            remove(d, "paths /orders/{order_id}/cancel parameters");
            set(
                d,
                "paths /orders/{order_id}/cancel post parameters",
                json!([{ "$ref": "#/components/parameters/OrderId" }]),
            );
        }),
        openapi("everything stands in another order", |d| {
            for place in [
                "components schemas",
                "components schemas Order properties",
                "paths",
                "paths /orders post responses",
            ] {
                let members = at(d, place).as_object_mut().unwrap();
                *members = std::mem::take(members).into_iter().rev().collect();
            }
            at(d, "components schemas Order required").as_array_mut().unwrap().reverse();
            at(d, "components schemas OrderStatus enum").as_array_mut().unwrap().reverse();
        }),
    ]
}

/// Edits of `proto/`.
pub(crate) fn of_proto() -> Vec<Edit> {
    vec![
        assistant(
            "a comment is another",
            "// Something to buy.\nmessage Product {",
            "// Something that can be bought.\nmessage Product {",
        ),
        assistant(
            "a field is new",
            "  int64 version = 9;\n",
            "  int64 version = 9;\n  // In grams.\n  int32 weight_grams = 10;\n",
        ),
        assistant(
            "an optional field of a request is new",
            "  optional string category = 3;\n",
            "  optional string category = 3;\n  // At most so much.\n  optional int64 max_price_cents = 4;\n",
        ),
        assistant(
            "a method is new",
            "  rpc CancelOrder(",
            "  // Ships it.\n  rpc ShipOrder(GetOrderRequest) returns (GetOrderResponse);\n\n  rpc CancelOrder(",
        ),
        assistant(
            "a message is new",
            "// Cancels an order.\nmessage",
            "// Nobody uses it yet.\nmessage Coupon {\n  // Its code.\n  string code = 1;\n}\n\n// Cancels an order.\nmessage",
        ),
        assistant(
            "a reason is new",
            "  ERROR_REASON_OVERLOADED = 14;\n",
            "  ERROR_REASON_OVERLOADED = 14;\n  // The sale is over.\n  ERROR_REASON_SALE_CLOSED = 15;\n",
        ),
        assistant(
            "a field is deprecated",
            "  string slogan = 4;",
            "  string slogan = 4 [deprecated = true];",
        ),
        assistant(
            "a number is reserved",
            "  int32 stock = 8;\n",
            "  int32 stock = 8;\n  reserved 100;\n",
        ),
        assistant(
            "a choice that is asked for has another way",
            "    Caller caller = 2;\n  }\n",
            "    Caller caller = 2;\n    // Compared without regard to case.\n    string email = 3;\n  }\n",
        ),
        assistant(
            "the rule of a request is wider",
            "  // How many, 1 to 3.\n",
            "  // How many, 1 to 5.\n",
        ),
        logging(
            "the topic's message has a field more",
            "  map<string, string> attributes = 12;\n",
            "  map<string, string> attributes = 12;\n  // Where.\n  string region = 13;\n",
        ),
        logging(
            "a word of an event is new",
            "`order_placed`, `order_cancelled`",
            "`order_placed`, `order_shipped`, `order_cancelled`",
        ),
    ]
}
