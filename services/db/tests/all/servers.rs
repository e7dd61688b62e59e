//! The db service with servers as people have them: other releases of PostgreSQL, TLS, a pooler, a
//! password that changes. Each test starts what it needs, on a port and in a folder of its own, and
//! ends it by its id.

/// Tests that need PgBouncer; `tools/test` skips them where it is missing.
mod needs_pgbouncer {
    mod pooler;
}
mod password;
mod program;
mod starting;
mod tls;
mod versions;

use merch_contract::grpc::assistant::v1::{
    get_credentials_request::By, place_order_result::Outcome, *,
};
use merch_db::Config;
use tonic::Code;

use crate::{
    harness::*,
    outbox::{keeper, words},
};

/// What the store is there for, once: accounts, orders, keys, cancelling, lists, and events that
/// arrive.
async fn journey(place: Place, change: impl FnOnce(&mut Config)) -> Place {
    let (keeper, logging) = keeper().await;
    let mut settings = config(&place);
    settings.logging_endpoint = logging;
    change(&mut settings);
    let store = TestDb::start_with(place, settings).await;
    let buyer = store.register("ada").await;
    assert_eq!(
        told(store.client().create_user(call(new_user("ada"))).await),
        why(Code::AlreadyExists, ErrorReason::SidTaken)
    );

    let by = GetCredentialsRequest { by: Some(By::Username("Ada".to_owned())) };
    let credentials = store.client().get_credentials(call(by)).await.unwrap().into_inner();
    assert_eq!(credentials.password_hash, HASH);
    let log_in = RecordLogInRequest {
        context: context(),
        caller: Some(buyer.caller.clone()),
        ..Default::default()
    };
    store.client().record_log_in(call(log_in)).await.unwrap();

    let order = buyer.order_with_key(HOODIE, 2, "k");
    let first = store.place(vec![order.clone(), buyer.order(BOTTLE, 1)]).await.unwrap();
    let again = store.place(vec![order]).await.unwrap();
    assert_eq!(again[0], first[0], "the key gives the same order");
    let reused = store.place(vec![buyer.order_with_key(HOODIE, 1, "k")]).await.unwrap();
    assert_eq!(refused(&reused[0]), Some(ErrorReason::IdempotencyKeyReused));
    assert_eq!(store.product(HOODIE).await.stock, 498);

    let Outcome::Order(placed) = &first[0] else { panic!("{first:?}") };
    store.cancel(&buyer, &placed.id).await.unwrap();
    assert_eq!(store.product(HOODIE).await.stock, 500);
    let list = ListOrdersRequest {
        caller: Some(buyer.caller.clone()),
        page_size: 10,
        ..Default::default()
    };
    assert_eq!(store.client().list_orders(call(list)).await.unwrap().into_inner().orders.len(), 2);

    let revoke = RevokeTokensRequest { context: context(), caller: Some(buyer.caller.clone()) };
    store.client().revoke_tokens(call(revoke)).await.unwrap();
    assert_eq!(
        refused(&store.place(vec![buyer.order(HOODIE, 1)]).await.unwrap()[0]),
        Some(ErrorReason::TokenRevoked)
    );

    let expected = [
        "user_registered",
        "user_logged_in",
        "order_placed",
        "order_placed",
        "order_cancelled",
        "user_logged_out",
    ];
    eventually("every event has arrived", || async {
        words(&keeper).await.len() >= expected.len()
    })
    .await;
    let mut words = words(&keeper).await;
    words.truncate(expected.len());
    assert_eq!(words, expected);
    store.stop().await
}
