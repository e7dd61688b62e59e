//! Each test starts its servers on their own port and in their own directory.

/// `tools/test` skips these tests if PgBouncer is missing.
mod needs_pgbouncer {
    mod pooler;
}
mod password;
mod program;
mod start;
mod tls;
mod versions;

use merch_contract::grpc::assistant::v1::{
    get_credentials_request::By, place_order_result::Outcome, *,
};
use merch_db::Config;
use tonic::Code;

use crate::{
    harness::*,
    outbox::{event_names, log_recorder},
};

async fn journey(test_database: TestDatabase, change: impl FnOnce(&mut Config)) -> TestDatabase {
    let (recorder, logging) = log_recorder().await;
    let mut settings = config(&test_database);
    settings.logging_endpoint = logging;
    change(&mut settings);
    let store = TestService::start_with(test_database, settings).await;
    let buyer = store.register("ada").await;
    assert_eq!(
        error_of(store.client().create_user(call(new_user("ada"))).await),
        error(Code::AlreadyExists, ErrorReason::SidTaken)
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
    assert_eq!(refusal_reason(&reused[0]), Some(ErrorReason::IdempotencyKeyReused));
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
        refusal_reason(&store.place(vec![buyer.order(HOODIE, 1)]).await.unwrap()[0]),
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
        event_names(&recorder).await.len() >= expected.len()
    })
    .await;
    let mut names = event_names(&recorder).await;
    names.truncate(expected.len());
    assert_eq!(names, expected);
    store.stop().await
}
