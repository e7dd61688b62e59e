//! Compares the framework's OpenAPI document with `openapi.yaml`: equal in meaning, except for the
//! gaps in `poem_contract::gaps`.

use merch_contract::{OPENAPI_YAML, rest::server};
use poem_contract::drift::compare;
use serde_json::Value;

fn document() -> Value {
    serde_norway::from_str(OPENAPI_YAML).unwrap()
}

fn emitted() -> Value {
    serde_json::from_str(&server::spec_json::<Unimplemented>()).unwrap()
}

#[test]
fn emitted_document_matches_openapi_yaml() {
    let differences: Vec<String> =
        compare(&document(), &emitted()).iter().map(ToString::to_string).collect();
    assert!(
        differences.is_empty(),
        "the emitted document differs from openapi.yaml beyond codegen/src/gaps.rs:\n{}",
        differences.join("\n")
    );
}

#[test]
fn changes_on_either_side_are_detected() {
    for pointer in [
        "/paths/~1orders/post/responses/409",
        "/paths/~1orders/post/responses/201/headers/ETag",
        "/paths/~1orders/get/parameters",
        "/components/schemas/Purchase/properties/quantity/maximum",
        "/components/schemas/Order/required",
        "/components/schemas/Order/properties/cancelled_at/nullable",
        "/components/securitySchemes/bearerAuth",
        "/info/version",
    ] {
        let mut changed = document();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        changed
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(&key.replace("~1", "/"))
            .unwrap_or_else(|| panic!("nothing at {pointer}"));
        assert!(
            !compare(&changed, &emitted()).is_empty(),
            "openapi.yaml without {pointer} was not detected"
        );
    }
    let mut more = emitted();
    more["components"]["schemas"]["Order"]["properties"]["colour"] =
        serde_json::json!({ "type": "string" });
    assert!(
        !compare(&document(), &more).is_empty(),
        "a member that only the emitted document has was not detected"
    );
}

/// Only its type is used.
struct Unimplemented;

const NOT_CALLED: &str = "only the type of this implementation is used";

macro_rules! unimplemented_interfaces {
    ($($interface:ident { $($operation:ident($($argument:ty),*) -> $response:ident;)* })*) => {$(
        impl server::$interface for Unimplemented {
            $(async fn $operation(&self, $(_: $argument),*) -> server::$response { unreachable!("{NOT_CALLED}") })*
        }
    )*};
}

unimplemented_interfaces! {
    Dialog {
        greet() -> GreetResponse;
    }
    UserManager {
        register(server::Registration) -> RegisterResponse;
        log_in(server::Credentials) -> LogInResponse;
        log_out(server::BearerAuth) -> LogOutResponse;
        get_user(server::BearerAuth, server::UserId, Option<String>) -> GetUserResponse;
        deactivate_user(server::BearerAuth, server::UserId) -> DeactivateUserResponse;
        update_user(server::BearerAuth, server::UserId, Option<String>, server::UserChange) -> UpdateUserResponse;
        change_password(server::BearerAuth, server::UserId, server::PasswordChange) -> ChangePasswordResponse;
    }
    ProductManager {
        list_products(i32, Option<String>, Option<server::Category>) -> ListProductsResponse;
        get_product(server::ProductId, Option<String>) -> GetProductResponse;
    }
    OrderManager {
        list_orders(server::BearerAuth, i32, Option<String>, Option<server::OrderStatus>) -> ListOrdersResponse;
        place_order(server::BearerAuth, Option<String>, server::Purchase) -> PlaceOrderResponse;
        get_order(server::BearerAuth, server::OrderId, Option<String>) -> GetOrderResponse;
        cancel_order(server::BearerAuth, server::OrderId) -> CancelOrderResponse;
    }
}
