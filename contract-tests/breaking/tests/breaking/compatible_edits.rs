//! Edits that the gate has to accept.

use serde_json::json;

use crate::edits::{
    Edit, assistant, at, logging, openapi, openapi_given, push, refer, remove, reword, set, take,
};

/// Edits of `openapi.yaml`.
pub(crate) fn of_openapi() -> Vec<Edit> {
    vec![
        openapi("description changed", |d| {
            set(d, "paths /orders post description", "Buys something.")
        }),
        openapi("summary, example and schema description changed", |d| {
            set(d, "paths /orders post summary", "Buy");
            set(d, "components schemas Sid example", "12345678");
            set(d, "components schemas Order description", "A purchase.");
        }),
        openapi("response example changed", |d| {
            set(
                d,
                "components responses OutOfStock content application/problem+json examples out_of_stock summary",
                "Sold out",
            )
        }),
        openapi("code sample added", |d| {
            set(
                d,
                "paths /orders post x-codeSamples",
                json!([{ "lang": "Shell", "source": "curl" }]),
            )
        }),
        openapi("title, contact and licence changed", |d| {
            set(d, "info title", "The Store");
            set(d, "info contact name", "The team");
            set(d, "info license name", "MIT");
        }),
        openapi("tag description changed", |d| set(d, "tags 0 description", "Greets.")),
        openapi("operation added", |d| {
            let operation = json!({
                "tags": ["OrderManager"], "operationId": "get_receipt", "summary": "Read a receipt", "security": [{ "bearerAuth": [] }],
                "parameters": [{ "$ref": "#/components/parameters/OrderId" }],
                "responses": { "200": { "description": "It.", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Order" } } } } }
            });
            set(d, "paths /orders/{order_id}/receipt", json!({ "get": operation }));
        }),
        openapi("method added to a path", |d| {
            set(
                d,
                "paths /products head",
                json!({ "tags": ["ProductManager"], "operationId": "head_products", "responses": { "204": { "description": "There." } } }),
            )
        }),
        openapi("optional query parameter added", |d| {
            push(
                d,
                "paths /products get parameters",
                json!({ "name": "max_price_cents", "in": "query", "schema": { "type": "integer", "format": "int64" } }),
            );
        }),
        openapi("optional header added", |d| {
            push(
                d,
                "paths /orders get parameters",
                json!({ "name": "Prefer", "in": "header", "schema": { "type": "string" } }),
            )
        }),
        openapi("parameters reordered", |d| {
            at(d, "paths /products get parameters").as_array_mut().unwrap().reverse()
        }),
        openapi("case of a header name changed", |d| {
            set(d, "paths /orders post parameters 0 name", "idempotency-key")
        }),
        openapi("parameter maximum raised", |d| {
            set(d, "components parameters Limit schema maximum", 200)
        }),
        openapi("parameter minimum lowered", |d| {
            set(d, "components parameters Limit schema minimum", 0)
        }),
        openapi("parameter pattern removed", |d| {
            drop(remove(d, "paths /orders post parameters 0 schema pattern"))
        }),
        openapi_given(
            "parameter made optional",
            |d| set(d, "components parameters IfMatch required", true),
            |d| drop(remove(d, "components parameters IfMatch required")),
        ),
        openapi("default serialisation written out", |d| {
            set(d, "components parameters Limit style", "form");
            set(d, "components parameters Limit explode", true);
            set(d, "components parameters Limit required", false);
        }),
        openapi("optional request member added", |d| {
            set(
                d,
                "components schemas Purchase properties note",
                json!({ "type": "string", "maxLength": 100 }),
            )
        }),
        openapi("request member made optional", |d| {
            take(d, "components schemas PasswordChange required", "current_password")
        }),
        openapi("request maximum raised", |d| {
            set(d, "components schemas Purchase properties quantity maximum", 5)
        }),
        openapi("request minLength lowered", |d| {
            set(d, "components schemas Registration properties password minLength", 6)
        }),
        openapi("request schema opened", |d| {
            drop(remove(d, "components schemas Purchase additionalProperties"))
        }),
        openapi("request member made nullable", |d| {
            set(d, "components schemas Purchase properties quantity nullable", true)
        }),
        openapi("request media type added", |d| {
            set(
                d,
                "paths /orders post requestBody content application/cbor",
                json!({ "schema": { "$ref": "#/components/schemas/Purchase" } }),
            );
        }),
        openapi("request body made optional", |d| {
            set(d, "paths /users/{user_id} patch requestBody required", false)
        }),
        openapi("optional response member added", |d| {
            set(
                d,
                "components schemas Order properties shipped_at",
                json!({ "type": "string", "format": "date-time", "nullable": true }),
            )
        }),
        openapi("required response member added", |d| {
            set(
                d,
                "components schemas Product properties weight_grams",
                json!({ "type": "integer", "format": "int32" }),
            );
            push(d, "components schemas Product required", "weight_grams");
        }),
        openapi("response member made required", |d| {
            push(d, "components schemas OrderPage required", "next_page")
        }),
        openapi("response maximum lowered", |d| {
            set(d, "components schemas Order properties quantity maximum", 2)
        }),
        openapi("response pattern added", |d| {
            set(d, "components schemas Problem properties request_id pattern", "^.+$")
        }),
        openapi("response member made not nullable", |d| {
            drop(remove(d, "components schemas Order properties cancelled_at nullable"))
        }),
        openapi("error status with the common body added", |d| {
            set(
                d,
                "paths /orders get responses 429",
                json!({ "$ref": "#/components/responses/TooManyAttempts" }),
            );
        }),
        openapi("response header added", |d| {
            set(
                d,
                "paths /orders get responses 200 headers",
                json!({ "X-Total": { "schema": { "type": "integer" } } }),
            )
        }),
        openapi("problem code added", |d| {
            reword(
                d,
                "components schemas Problem description",
                "`out_of_stock`, ",
                "`out_of_stock`, `sale_closed`, ",
            )
        }),
        openapi_given(
            "link added",
            |d| set(d, "paths /orders post responses 201 links", json!({})),
            |d| {
                let link = json!({ "operationId": "get_user", "parameters": { "user_id": "$response.body#/user_id" } });
                set(d, "paths /orders post responses 201 links ReadBuyer", link);
            },
        ),
        openapi("operation deprecated", |d| set(d, "paths /logout post deprecated", true)),
        openapi("member deprecated", |d| {
            set(d, "components schemas Product properties slogan deprecated", true)
        }),
        openapi("second tag added", |d| push(d, "paths /login post tags", "Dialog")),
        openapi("second server added", |d| {
            push(d, "servers", json!({ "url": "https://merch.example.com" }))
        }),
        openapi("alternative security scheme added", |d| {
            set(
                d,
                "components securitySchemes key",
                json!({ "type": "apiKey", "in": "header", "name": "X-Key" }),
            );
            push(d, "paths /orders get security", json!({ "key": [] }));
        }),
        openapi("security moved to the document", |d| {
            set(d, "security", json!([{ "bearerAuth": [] }]));
            remove(d, "paths /orders get security");
        }),
        openapi("unused schema added", |d| {
            set(d, "components schemas Coupon", json!({ "type": "object" }))
        }),
        openapi("inline schema given a name", |d| {
            let quantity = remove(d, "components schemas Purchase properties quantity");
            set(d, "components schemas Quantity", quantity);
            set(
                d,
                "components schemas Purchase properties quantity",
                json!({ "$ref": "#/components/schemas/Quantity" }),
            );
        }),
        openapi("simple type inlined", |d| {
            let currency = at(d, "components schemas Currency").clone();
            set(d, "components schemas Product properties currency", currency);
        }),
        openapi("shared response inlined", |d| {
            let response = at(d, "components responses NotModified").clone();
            set(d, "paths /products/{product_id} get responses 304", response);
        }),
        openapi("shared parameter renamed in components", |d| {
            let parameter = remove(d, "components parameters IfNoneMatch");
            set(d, "components parameters NoneMatch", parameter);
            refer(d, "#/components/parameters/IfNoneMatch", "#/components/parameters/NoneMatch");
        }),
        openapi("path parameter moved to its operations", |d| {
            remove(d, "paths /orders/{order_id}/cancel parameters");
            set(
                d,
                "paths /orders/{order_id}/cancel post parameters",
                json!([{ "$ref": "#/components/parameters/OrderId" }]),
            );
        }),
        openapi("everything reordered", |d| {
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
            "comment changed",
            "// A product of the catalogue.\nmessage Product {",
            "// A product that can be bought.\nmessage Product {",
        ),
        assistant(
            "field added",
            "  int64 version = 9 [(buf.validate.field).int64.gte = 1];\n",
            "  int64 version = 9 [(buf.validate.field).int64.gte = 1];\n  // In grams.\n  int32 weight_grams = 10;\n",
        ),
        assistant(
            "optional request field added",
            "message GetProductRequest {\n",
            "message GetProductRequest {\n  // At most so much.\n  optional int64 max_price_cents = 2;\n",
        ),
        assistant(
            "rpc method added",
            "  rpc CancelOrder(",
            "  // Ships it.\n  rpc ShipOrder(GetOrderRequest) returns (GetOrderResponse);\n\n  rpc CancelOrder(",
        ),
        assistant(
            "message added",
            "// Cancels an order.\nmessage",
            "// Not used yet.\nmessage Coupon {\n  // Its code.\n  string code = 1;\n}\n\n// Cancels an order.\nmessage",
        ),
        assistant(
            "error reason added",
            "  ERROR_REASON_OVERLOADED = 14;\n",
            "  ERROR_REASON_OVERLOADED = 14;\n  // The sale is over.\n  ERROR_REASON_SALE_CLOSED = 17;\n",
        ),
        assistant(
            "field deprecated",
            "  string slogan = 4 [",
            "  string slogan = 4 [deprecated = true, ",
        ),
        assistant(
            "number reserved",
            "  int64 version = 9 [(buf.validate.field).int64.gte = 1];\n",
            "  int64 version = 9 [(buf.validate.field).int64.gte = 1];\n  reserved 100;\n",
        ),
        assistant(
            "request oneof choice added",
            "    Caller caller = 2;\n  }\n}\n\n// The data for a password check.",
            "    Caller caller = 2;\n    // Compared without regard to case.\n    string email = 3;\n  }\n}\n\n// The data for a password check.",
        ),
        assistant(
            "request rule widened",
            "    lte: 3\n  }];\n  // Visible ASCII",
            "    lte: 5\n  }];\n  // Visible ASCII",
        ),
        assistant(
            "request field added whose rule allows its absence",
            "message GetProductRequest {\n",
            "message GetProductRequest {\n  // Why.\n  optional string reason = 2 [(buf.validate.field).string.min_len = 1];\n  // Where.\n  string region = 3 [(buf.validate.field).string.max_len = 9];\n",
        ),
        assistant(
            "response rule narrowed",
            "    lte: 3\n  }];\n  // The price of one piece",
            "    lte: 2\n  }];\n  // The price of one piece",
        ),
        logging(
            "topic field added",
            "  string message = 11;\n",
            "  string message = 11;\n  // Where.\n  string region = 13;\n",
        ),
        logging(
            "event name added to a comment",
            "`order_placed`, `order_cancelled`",
            "`order_placed`, `order_shipped`, `order_cancelled`",
        ),
    ]
}
