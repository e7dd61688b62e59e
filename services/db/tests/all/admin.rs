mod products;
mod users;

use merch_contract::grpc::{
    admin::v1::{
        DeactivateUserRequest, DeactivateUserResponse, Everyone, ListUsersRequest,
        ListUsersResponse, RestockRequest, RestockResponse, RevokeTokensRequest,
        RevokeTokensResponse, SetPriceRequest, SetPriceResponse, UserRef,
        admin_service_client::AdminServiceClient, restock_request::Change,
        revoke_tokens_request::Whose, user_ref::By,
    },
    assistant::v1::{ErrorReason, GetUserRequest, Order, PlaceOrdersRequest, Product, User},
};
use tonic::{
    Code, Request, Status,
    metadata::MetadataValue,
    service::interceptor::{InterceptedService, Interceptor},
    transport::Channel,
};
use tonic_reflection::pb::v1::{
    ListServiceResponse, ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::harness::*;

const SERVICE: &str = "merch.admin.v1.AdminService";

#[derive(Clone)]
pub(crate) struct AuthorizationHeader(Option<String>);

impl Interceptor for AuthorizationHeader {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(text) = &self.0 {
            request.metadata_mut().insert("authorization", MetadataValue::try_from(text).unwrap());
        }
        Ok(request)
    }
}

#[derive(Clone)]
pub(crate) struct AdminClient(
    pub(crate) AdminServiceClient<InterceptedService<Channel, AuthorizationHeader>>,
);

fn admin_client_with(store: &TestService, authorization: Option<&str>) -> AdminClient {
    AdminClient(AdminServiceClient::with_interceptor(
        store.channel.clone(),
        AuthorizationHeader(authorization.map(str::to_owned)),
    ))
}

pub(crate) fn operator(store: &TestService) -> AdminClient {
    admin_client_with(store, Some(&format!("Bearer {ADMIN_TOKEN}")))
}

fn named(name: &str) -> Option<UserRef> {
    Some(UserRef { by: Some(By::Username(name.to_owned())) })
}

fn with_id(id: &str) -> Option<UserRef> {
    Some(UserRef { by: Some(By::UserId(id.to_owned())) })
}

impl AdminClient {
    async fn restock(
        &self,
        key: &str,
        product_id: i32,
        change: Change,
    ) -> Result<RestockResponse, Status> {
        let request = RestockRequest {
            context: context(),
            idempotency_key: key.to_owned(),
            product_id,
            change: Some(change),
        };
        Ok(self.0.clone().restock(call(request)).await?.into_inner())
    }

    async fn set_price(
        &self,
        product_id: i32,
        price_cents: i64,
    ) -> Result<SetPriceResponse, Status> {
        Ok(self
            .0
            .clone()
            .set_price(call(SetPriceRequest { context: context(), product_id, price_cents }))
            .await?
            .into_inner())
    }

    async fn list(
        &self,
        page_size: i32,
        page_token: &str,
        prefix: Option<&str>,
        active: Option<bool>,
    ) -> Result<ListUsersResponse, Status> {
        let username_prefix = prefix.map(str::to_owned);
        let request = ListUsersRequest {
            context: context(),
            page_size,
            page_token: page_token.to_owned(),
            username_prefix,
            active,
        };
        Ok(self.0.clone().list_users(call(request)).await?.into_inner())
    }

    async fn deactivate(&self, user: Option<UserRef>) -> Result<DeactivateUserResponse, Status> {
        Ok(self
            .0
            .clone()
            .deactivate_user(call(DeactivateUserRequest { context: context(), user }))
            .await?
            .into_inner())
    }

    async fn revoke(&self, whose: Option<Whose>) -> Result<RevokeTokensResponse, Status> {
        Ok(self
            .0
            .clone()
            .revoke_tokens(call(RevokeTokensRequest { context: context(), whose }))
            .await?
            .into_inner())
    }
}

async fn own(store: &TestService, buyer: &Buyer) -> Result<User, Status> {
    let request =
        GetUserRequest { caller: Some(buyer.caller.clone()), user_id: buyer.user.id.clone() };
    Ok(store.client().get_user(call(request)).await?.into_inner().user.unwrap())
}

async fn reflected(store: &TestService) -> (Vec<String>, bool) {
    let mut client = ServerReflectionClient::new(store.channel.clone());
    let mut ask = async |message| {
        let request =
            ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let mut answers =
            client.server_reflection_info(tokio_stream::once(request)).await?.into_inner();
        Ok::<_, Status>(answers.message().await?.unwrap().message_response.unwrap())
    };
    let listed = ask(MessageRequest::ListServices(String::new())).await.unwrap();
    let MessageResponse::ListServicesResponse(ListServiceResponse { service }) = listed else {
        panic!("{listed:?}")
    };
    let described = ask(MessageRequest::FileContainingSymbol(SERVICE.to_owned())).await;
    if let Err(status) = &described {
        assert_eq!(status.code(), Code::NotFound);
    }
    (
        service.into_iter().map(|service| service.name).collect(),
        matches!(described, Ok(MessageResponse::FileDescriptorResponse(_))),
    )
}

on_both!(
    async fn admin_calls_require_the_admin_token(store: &TestService) {
        let buyer = store.register("ada").await;
        let before = (store.product(HOODIE).await, store.event_names().await);
        let wrong = [
            "Bearer an-admin-token-of-the-tests-alonE",
            ADMIN_TOKEN,
            "Basic an-admin-token-of-the-tests-alone",
            "Bearer ",
            "",
        ];
        for authorization in [None].into_iter().chain(wrong.map(Some)) {
            let stranger = admin_client_with(store, authorization);
            let refusals = [
                stranger.restock("k", HOODIE, Change::Add(1)).await.map(|_| ()),
                stranger.set_price(HOODIE, 1).await.map(|_| ()),
                stranger.list(1, "", None, None).await.map(|_| ()),
                stranger.deactivate(named("ada")).await.map(|_| ()),
                stranger
                    .revoke(Some(Whose::User(UserRef {
                        by: Some(By::UserId(buyer.user.id.clone())),
                    })))
                    .await
                    .map(|_| ()),
                // The request is not validated either.
                stranger.revoke(None).await.map(|_| ()),
            ];
            for refusal in refusals {
                let status = refusal.unwrap_err();
                assert_eq!(
                    (status.code(), status.details()),
                    (Code::Unauthenticated, &[][..]),
                    "{authorization:?}"
                );
                assert!(!status.message().contains("an-admin-token"), "{status}");
            }
        }
        let (product, mut names) = (store.product(HOODIE).await, store.event_names().await);
        let refusals = names.split_off(before.1.len());
        assert_eq!((product, names), before);
        assert!(
            refusals.len() == 36 && refusals.iter().all(|word| word == "operator_refused"),
            "{refusals:?}"
        );
        assert_eq!(own(store, &buyer).await.unwrap(), buyer.user);
        operator(store).list(1, "", None, None).await.unwrap();
    }
);

on_both!(
    async fn refused_admin_call_is_logged_with_its_reason(store: &TestService) {
        for (authorization, reason) in [(None, "token_missing"), (Some("Bearer x"), "token_wrong")]
        {
            let status =
                admin_client_with(store, authorization).set_price(HOODIE, 1).await.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated);
            let events = store.events().await;
            let event = events.last().unwrap();
            assert_eq!(
                (event.event.as_str(), event.service.as_str(), event.actor.as_str()),
                ("operator_refused", "db", "anonymous")
            );
            assert_eq!(event.attributes["reason"], reason);
            assert!(!format!("{event:?}").contains("Bearer"), "{event:?}");
            assert_eq!(merch_logging::rules::check(event), []);
        }
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_of_wrong_tokens_is_summarised() {
    let test_database = TestDatabase::sqlite().await;
    let mut limited = config(&test_database);
    limited.refusals.single_events = 2;
    let store = TestService::start_with(test_database, limited).await;
    for _ in 0..20 {
        let status =
            admin_client_with(&store, Some("Bearer x")).set_price(HOODIE, 1).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    assert_eq!(store.event_names().await, ["operator_refused"; 2]);
    let store = TestService::start(store.stop().await).await;
    let events = store.events().await;
    assert_eq!(
        store.event_names().await,
        ["operator_refused", "operator_refused", "refusals_summarised"]
    );
    let attributes = &events[2].attributes;
    let summary = ["event", "reason", "count"].map(|name| attributes[name].as_str());
    assert_eq!(summary, ["operator_refused", "token_wrong", "18"]);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_service_is_absent_without_a_token() {
    let test_database = TestDatabase::sqlite().await;
    let mut config = config(&test_database);
    config.grpc.reflection = true;
    let offered = TestService::start_with(test_database, config.clone()).await;
    let (names, described) = reflected(&offered).await;
    assert!(names.iter().any(|name| name == SERVICE) && described, "{names:?}");
    let test_database = offered.stop().await;

    config.admin_token = None;
    let store = TestService::start_with(test_database, config).await;
    assert_eq!(
        operator(&store).set_price(HOODIE, 1).await.unwrap_err().code(),
        Code::Unimplemented
    );
    let (names, described) = reflected(&store).await;
    assert!(!names.iter().any(|name| name.contains("admin")) && !described, "{names:?}");
    assert!(names.iter().any(|name| name == "merch.assistant.v1.AssistantService"), "{names:?}");
    store.stop().await;
}

on_both!(
    async fn admin_calls_succeed_under_load(store: &TestService) {
        let mut buyers = vec![];
        for n in 0..8 {
            buyers.push(store.register(&format!("buyer{n}")).await);
        }
        store.sql("UPDATE products SET stock = 20 WHERE id IN (1, 2)").await;
        let rush: Vec<_> = buyers
            .iter()
            .enumerate()
            .map(|(n, buyer)| {
                let (buyer, mut client) = (buyer.clone(), store.client());
                tokio::spawn(async move {
                    let mut sold: Vec<Order> = vec![];
                    for _ in 0..25 {
                        let orders = if n % 2 == 0 { [HOODIE, BOTTLE] } else { [BOTTLE, HOODIE] };
                        let orders = orders.map(|product| buyer.order(product, 1)).to_vec();
                        let answer = client
                            .place_orders(call(PlaceOrdersRequest { orders }))
                            .await
                            .unwrap()
                            .into_inner();
                        for result in answer.results {
                            let outcome = result.outcome.unwrap();
                            match refusal_reason(&outcome) {
                                None => sold.push(expect_placed(outcome)),
                                Some(ErrorReason::OutOfStock | ErrorReason::TokenRevoked) => {}
                                other => panic!("{other:?}"),
                            }
                        }
                    }
                    sold
                })
            })
            .collect();
        let operating: Vec<_> = (0..4)
            .map(|n| {
                let operator = operator(store);
                tokio::spawn(async move {
                    let (mut difference, mut changes) = ([0, 0], 0);
                    for round in 0..10 {
                        let product = 1 + (n + round) % 2;
                        let change =
                            if round == 5 && n == 0 { Change::Set(3) } else { Change::Add(2) };
                        let key = format!("{n}-{round}");
                        let changed =
                            operator.restock(&key, product, change).await.unwrap().difference;
                        difference[usize::try_from(product - 1).unwrap()] += changed;
                        // A restock that changes nothing has no event.
                        changes += usize::from(changed != 0);
                        assert!(operator.restock(&key, product, change).await.unwrap().replayed);
                        operator.set_price(product, 1000 + i64::from(round)).await.unwrap();
                        operator.list(100, "", None, None).await.unwrap();
                        if n == 3 && round == 8 {
                            operator
                                .revoke(Some(Whose::Everyone(Everyone::default())))
                                .await
                                .unwrap();
                        }
                    }
                    (difference, changes)
                })
            })
            .collect();
        let mut sold: Vec<Order> = vec![];
        for task in rush {
            sold.extend(task.await.unwrap());
        }
        let (mut difference, mut changes) = ([0, 0], 0);
        for task in operating {
            let (of_task, changes_of_task) = task.await.unwrap();
            changes += changes_of_task;
            difference = [difference[0] + of_task[0], difference[1] + of_task[1]];
        }
        for product in [HOODIE, BOTTLE] {
            let pieces =
                i32::try_from(sold.iter().filter(|order| order.product_id == product).count())
                    .unwrap();
            let Product { stock, .. } = store.product(product).await;
            assert!(stock >= 0);
            assert_eq!(
                stock,
                20 + difference[usize::try_from(product - 1).unwrap()] - pieces,
                "product {product}"
            );
        }
        assert_eq!(store.count("orders").await, i64::try_from(sold.len()).unwrap());
        assert_eq!(store.count("admin_requests").await, 40);
        let names = store.event_names().await;
        let count = |word: &str| names.iter().filter(|found| *found == word).count();
        assert_eq!(
            (count("order_placed"), count("product_restocked"), count("users_listed")),
            (sold.len(), changes, 40)
        );
        for buyer in &buyers {
            assert_eq!(
                error_of(own(store, buyer).await),
                error(Code::Unauthenticated, ErrorReason::TokenRevoked)
            );
        }
    }
);

on_both!(
    async fn restored_database_revokes_all_tokens(store: &TestService) {
        let ada = store.register("ada").await;
        store.sql("UPDATE users SET token_version = 7").await;
        own(store, &ada.with_token_version(7)).await.unwrap();
        merch_db::mark_restored(&store.test_database.url, "2026-01-01T00:00:00Z").await.unwrap();
        for version in 1..50 {
            assert_eq!(
                error_of(own(store, &ada.with_token_version(version)).await),
                error(Code::Unauthenticated, ErrorReason::TokenRevoked)
            );
        }
        let events = store.events().await;
        let event = events.last().unwrap();
        assert_eq!((event.event.as_str(), event.actor.as_str()), ("store_restored", "operator"));
        assert_eq!(event.attributes["taken_at"], "2026-01-01T00:00:00Z");
        assert_eq!(merch_logging::rules::check(event), []);
    }
);
