//! The operator's service: who may call it, what each call does, and that it gets on with orders.

use merch_contract::grpc::admin::v1::admin_service_client::AdminServiceClient;
use merch_contract::grpc::admin::v1::restock_request::Change;
use merch_contract::grpc::admin::v1::revoke_tokens_request::Whose;
use merch_contract::grpc::admin::v1::user_ref::By;
use merch_contract::grpc::admin::v1::{
    DeactivateUserRequest, DeactivateUserResponse, Everyone, ListUsersRequest, ListUsersResponse, RestockRequest, RestockResponse,
    RevokeTokensRequest, RevokeTokensResponse, SetPriceRequest, SetPriceResponse, UserRef,
};
use merch_contract::grpc::assistant::v1::{ErrorReason, GetUserRequest, Order, PlaceOrdersRequest, Product, User};
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::{InterceptedService, Interceptor};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ListServiceResponse, ServerReflectionRequest};

use crate::harness::*;

const SERVICE: &str = "merch.admin.v1.AdminService";

/// Shows this `authorization`, if any.
#[derive(Clone)]
struct Shows(Option<String>);

impl Interceptor for Shows {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(text) = &self.0 {
            request.metadata_mut().insert("authorization", MetadataValue::try_from(text).unwrap());
        }
        Ok(request)
    }
}

#[derive(Clone)]
struct Operator(AdminServiceClient<InterceptedService<Channel, Shows>>);

fn showing(store: &TestDb, authorization: Option<&str>) -> Operator {
    Operator(AdminServiceClient::with_interceptor(store.channel.clone(), Shows(authorization.map(str::to_owned))))
}

fn operator(store: &TestDb) -> Operator {
    showing(store, Some(&format!("Bearer {ADMIN_TOKEN}")))
}

fn named(name: &str) -> Option<UserRef> {
    Some(UserRef { by: Some(By::Username(name.to_owned())) })
}

fn with_id(id: &str) -> Option<UserRef> {
    Some(UserRef { by: Some(By::UserId(id.to_owned())) })
}

impl Operator {
    async fn restock(&self, key: &str, product_id: i32, change: Change) -> Result<RestockResponse, Status> {
        let request = RestockRequest { context: context(), idempotency_key: key.to_owned(), product_id, change: Some(change) };
        Ok(self.0.clone().restock(call(request)).await?.into_inner())
    }

    async fn set_price(&self, product_id: i32, price_cents: i64) -> Result<SetPriceResponse, Status> {
        Ok(self.0.clone().set_price(call(SetPriceRequest { context: context(), product_id, price_cents })).await?.into_inner())
    }

    async fn list(
        &self,
        page_size: i32,
        page_token: &str,
        prefix: Option<&str>,
        active: Option<bool>,
    ) -> Result<ListUsersResponse, Status> {
        let username_prefix = prefix.map(str::to_owned);
        let request = ListUsersRequest { context: context(), page_size, page_token: page_token.to_owned(), username_prefix, active };
        Ok(self.0.clone().list_users(call(request)).await?.into_inner())
    }

    async fn deactivate(&self, user: Option<UserRef>) -> Result<DeactivateUserResponse, Status> {
        Ok(self.0.clone().deactivate_user(call(DeactivateUserRequest { context: context(), user })).await?.into_inner())
    }

    async fn revoke(&self, whose: Option<Whose>) -> Result<RevokeTokensResponse, Status> {
        Ok(self.0.clone().revoke_tokens(call(RevokeTokensRequest { context: context(), whose })).await?.into_inner())
    }
}

/// What the caller's token is worth.
async fn own(store: &TestDb, buyer: &Buyer) -> Result<User, Status> {
    let request = GetUserRequest { caller: Some(buyer.caller.clone()), user_id: buyer.user.id.clone() };
    Ok(store.client().get_user(call(request)).await?.into_inner().user.unwrap())
}

/// The services that reflection lists, and whether it describes the operator's.
async fn reflected(store: &TestDb) -> (Vec<String>, bool) {
    let mut client = ServerReflectionClient::new(store.channel.clone());
    let mut ask = async |message| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let mut answers = client.server_reflection_info(tokio_stream::once(request)).await?.into_inner();
        Ok::<_, Status>(answers.message().await?.unwrap().message_response.unwrap())
    };
    let listed = ask(MessageRequest::ListServices(String::new())).await.unwrap();
    let MessageResponse::ListServicesResponse(ListServiceResponse { service }) = listed else { panic!("{listed:?}") };
    let described = ask(MessageRequest::FileContainingSymbol(SERVICE.to_owned())).await;
    if let Err(status) = &described {
        assert_eq!(status.code(), Code::NotFound);
    }
    (service.into_iter().map(|service| service.name).collect(), matches!(described, Ok(MessageResponse::FileDescriptorResponse(_))))
}

on_both!(
    async fn only_who_shows_the_credential_may_do_anything(store: &TestDb) {
        let buyer = store.register("ada").await;
        let before = (store.product(HOODIE).await, store.words().await);
        let wrong = ["Bearer an-admin-token-of-the-tests-alonE", ADMIN_TOKEN, "Basic an-admin-token-of-the-tests-alone", "Bearer ", ""];
        for authorization in [None].into_iter().chain(wrong.map(Some)) {
            let stranger = showing(store, authorization);
            let refusals = [
                stranger.restock("k", HOODIE, Change::Add(1)).await.map(|_| ()),
                stranger.set_price(HOODIE, 1).await.map(|_| ()),
                stranger.list(1, "", None, None).await.map(|_| ()),
                stranger.deactivate(named("ada")).await.map(|_| ()),
                stranger.revoke(Some(Whose::User(UserRef { by: Some(By::UserId(buyer.user.id.clone())) }))).await.map(|_| ()),
                // Not even what is wrong with a request is told.
                stranger.revoke(None).await.map(|_| ()),
            ];
            for refusal in refusals {
                let status = refusal.unwrap_err();
                assert_eq!((status.code(), status.details()), (Code::Unauthenticated, &[][..]), "{authorization:?}");
                assert!(!status.message().contains("an-admin-token"), "{status}");
            }
        }
        assert_eq!((store.product(HOODIE).await, store.words().await), before);
        assert_eq!(own(store, &buyer).await.unwrap(), buyer.user);
        operator(store).list(1, "", None, None).await.unwrap();
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_credential_there_is_no_such_service() {
    let offered = TestDb::start(Place::sqlite().await).await;
    let (names, described) = reflected(&offered).await;
    assert!(names.iter().any(|name| name == SERVICE) && described, "{names:?}");
    let place = offered.stop().await;

    let mut config = config(&place);
    config.admin_token = None;
    let store = TestDb::start_with(place, config).await;
    assert_eq!(operator(&store).set_price(HOODIE, 1).await.unwrap_err().code(), Code::Unimplemented);
    let (names, described) = reflected(&store).await;
    assert!(!names.iter().any(|name| name.contains("admin")) && !described, "{names:?}");
    assert!(names.iter().any(|name| name == "merch.assistant.v1.AssistantService"), "{names:?}");
    store.stop().await;
}

on_both!(
    async fn restocking_adds_or_sets_and_is_done_once(store: &TestDb) {
        let operator = operator(store);
        let version = store.product(HOODIE).await.version;
        let added = operator.restock("k1", HOODIE, Change::Add(50)).await.unwrap();
        assert_eq!(added, RestockResponse { stock: 550, difference: 50, replayed: false });
        let set = operator.restock("k2", HOODIE, Change::Set(10)).await.unwrap();
        assert_eq!(set, RestockResponse { stock: 10, difference: -540, replayed: false });
        // The first answer, although the stock is another one now.
        assert_eq!(operator.restock("k1", HOODIE, Change::Add(50)).await.unwrap(), RestockResponse { replayed: true, ..added });
        let reused = why(Code::FailedPrecondition, ErrorReason::IdempotencyKeyReused);
        for (product, change) in [(HOODIE, Change::Add(51)), (HOODIE, Change::Set(50)), (BOTTLE, Change::Add(50))] {
            assert_eq!(told(operator.restock("k1", product, change).await), reused);
        }
        let product = store.product(HOODIE).await;
        assert_eq!((product.stock, product.version), (10, version + 2));
        // As counted: nothing differs, and that it was counted is told all the same.
        assert_eq!(operator.restock("k3", HOODIE, Change::Set(10)).await.unwrap().difference, 0);
        assert_eq!(store.product(HOODIE).await.version, version + 2);

        let events = store.events().await;
        let told: Vec<_> =
            events.iter().map(|event| (event.attributes["difference"].as_str(), event.attributes["stock"].as_str())).collect();
        assert_eq!(told, [("50", "550"), ("-540", "10"), ("0", "10")]);
        for event in &events {
            let facts = (event.event.as_str(), event.actor.as_str(), event.subject.as_str(), event.request_id.as_str());
            assert_eq!(facts, ("product_restocked", "operator", "product:1", "r-1"));
            assert_eq!(merch_logging::rules::check(event), []);
        }
    }
);

on_both!(
    async fn a_restocking_that_breaks_a_rule_changes_nothing(store: &TestDb) {
        let operator = operator(store);
        assert_eq!(told(operator.restock("k", 99, Change::Add(1)).await), why(Code::NotFound, ErrorReason::ProductNotFound));
        for (key, change, field) in [
            ("", Change::Add(1), "idempotency_key"),
            ("a b", Change::Add(1), "idempotency_key"),
            ("k", Change::Add(0), "add"),
            ("k", Change::Add(-1), "add"),
            ("k", Change::Add(1_000_000_001), "add"),
            ("k", Change::Add(999_999_501), "add"),
            ("k", Change::Set(-1), "set"),
            ("k", Change::Set(1_000_000_001), "set"),
        ] {
            assert_eq!(fields(operator.restock(key, HOODIE, change).await), [field], "{key:?} {change:?}");
        }
        let request = RestockRequest { idempotency_key: "k".to_owned(), product_id: HOODIE, ..RestockRequest::default() };
        assert_eq!(fields(operator.0.clone().restock(call(request)).await), ["change"]);
        assert_eq!((store.product(HOODIE).await.stock, store.count("admin_requests").await), (500, 0));
        assert!(store.events().await.is_empty());
        // The most that there may be.
        assert_eq!(operator.restock("k", HOODIE, Change::Add(999_999_500)).await.unwrap().stock, 1_000_000_000);
    }
);

on_both!(
    async fn one_key_from_many_at_once_is_done_once(store: &TestDb) {
        let operator = operator(store);
        let calls: Vec<_> = (0..24)
            .map(|n| {
                let operator = operator.clone();
                // The same delivery, sent for two products: one of them has the key.
                tokio::spawn(async move { operator.restock("k", 1 + n % 2, Change::Add(7)).await })
            })
            .collect();
        let (mut done, mut replayed, mut reused) = (0, 0, 0);
        for call in calls {
            match call.await.unwrap() {
                Ok(RestockResponse { replayed: false, .. }) => done += 1,
                Ok(_) => replayed += 1,
                Err(status) => {
                    assert_eq!(told(Err::<(), _>(status)), why(Code::FailedPrecondition, ErrorReason::IdempotencyKeyReused));
                    reused += 1;
                }
            }
        }
        assert_eq!((done, replayed, reused), (1, 11, 12));
        assert_eq!(store.product(HOODIE).await.stock + store.product(BOTTLE).await.stock, 1007);
        assert_eq!(store.words().await, ["product_restocked"]);
    }
);

on_both!(
    async fn a_new_price_is_for_orders_to_come(store: &TestDb) {
        let (operator, buyer) = (operator(store), store.register("ada").await);
        let cheap = store.buy(&buyer, HOODIE, 2).await;
        let answer = operator.set_price(HOODIE, 5999).await.unwrap();
        let product = answer.product.unwrap();
        assert_eq!((product.price_cents, answer.previous_price_cents), (5999, 4999));
        assert_eq!(product, store.product(HOODIE).await);
        let again = operator.set_price(HOODIE, 5999).await.unwrap();
        assert_eq!((again.previous_price_cents, again.product.as_ref()), (5999, Some(&product)), "nothing was done");
        let dear = store.buy(&buyer, HOODIE, 2).await;
        assert_eq!((cheap.total_price_cents, dear.total_price_cents), (9998, 11_998));
        assert_eq!(store.cancel(&buyer, &cheap.id).await.unwrap().total_price_cents, 9998);
        assert_eq!(told(operator.set_price(99, 1).await), why(Code::NotFound, ErrorReason::ProductNotFound));
        for wrong in [-1, 1_000_000_000_001] {
            assert_eq!(fields(operator.set_price(HOODIE, wrong).await), ["price_cents"]);
        }
        operator.set_price(HOODIE, 0).await.unwrap();
        let events = store.events().await;
        let prices: Vec<_> = events.iter().filter(|event| event.event == "product_price_set").collect();
        assert_eq!(prices.len(), 2);
        assert_eq!((prices[0].attributes["price_cents"].as_str(), prices[0].attributes["previous_price_cents"].as_str()), ("5999", "4999"));
        assert_eq!((prices[0].actor.as_str(), prices[0].subject.as_str()), ("operator", "product:1"));
    }
);

on_both!(
    async fn users_are_listed_in_pages_and_no_event_names_one(store: &TestDb) {
        let operator = operator(store);
        let mut ids = vec![];
        for name in ["ada_one", "adatwo", "Ada_three", "bob"] {
            ids.push(store.register(name).await.user.id);
        }
        operator.deactivate(named("ada_one")).await.unwrap();
        let (mut seen, mut token, mut pages) = (vec![], String::new(), 0);
        loop {
            let page = operator.list(3, &token, None, None).await.unwrap();
            seen.extend(page.users.into_iter().map(|user| user.id));
            (token, pages) = (page.next_page_token, pages + 1);
            if token.is_empty() {
                break;
            }
        }
        assert_eq!((&seen, pages), (&ids, 2), "oldest first, each once");

        let names = async |prefix, active| -> Vec<String> {
            let page = operator.list(100, "", prefix, active).await.unwrap();
            assert_eq!(page.next_page_token, "");
            page.users.into_iter().map(|user| user.username).collect()
        };
        assert_eq!(names(Some("ADA"), None).await, ["ada_one", "adatwo", "Ada_three"], "without regard to case");
        assert_eq!(names(Some("ada_"), None).await, ["ada_one", "Ada_three"], "`_` is itself and stands for nothing else");
        assert_eq!(names(None, Some(false)).await, ["ada_one"]);
        assert_eq!(names(Some("ada"), Some(true)).await, ["adatwo", "Ada_three"]);
        assert!(names(Some("nobody"), None).await.is_empty());

        // A page's token carries its filter.
        let first = operator.list(1, "", Some("ada"), None).await.unwrap();
        let second = operator.list(5, &first.next_page_token, None, None).await.unwrap();
        assert_eq!(second.users.iter().map(|user| user.username.as_str()).collect::<Vec<_>>(), ["adatwo", "Ada_three"]);
        let invalid = why(Code::InvalidArgument, ErrorReason::InvalidPageToken);
        for (token, prefix, active) in
            [(first.next_page_token.as_str(), Some("b"), None), (&first.next_page_token, None, Some(true)), ("x", None, None)]
        {
            assert_eq!(told(operator.list(1, token, prefix, active).await), invalid);
        }
        for (size, prefix, field) in
            [(0, None, "page_size"), (101, None, "page_size"), (1, Some(""), "username_prefix"), (1, Some("a%"), "username_prefix")]
        {
            assert_eq!(fields(operator.list(size, "", prefix, None).await), [field]);
        }

        let events = store.events().await;
        let listed: Vec<_> = events.iter().filter(|event| event.event == "users_listed").collect();
        assert_eq!(listed.iter().map(|event| event.attributes["users"].as_str()).collect::<Vec<_>>()[..2], ["3", "1"]);
        for event in listed {
            assert_eq!((event.actor.as_str(), event.subject.as_str()), ("operator", ""));
            let text = format!("{event:?}");
            // Not `ada`: an id has that by chance, as its letters are hexadecimal digits.
            for private in ["ada_one", "adatwo", "Ada_three", "bob", "example.org", &ids[0]] {
                assert!(!text.contains(private), "{private}: {text}");
            }
        }
    }
);

on_both!(
    async fn a_user_is_deactivated_once_and_its_token_is_void(store: &TestDb) {
        let (operator, ada, bob) = (operator(store), store.register("ada").await, store.register("bob").await);
        let order = store.buy(&ada, HOODIE, 1).await;
        let done = operator.deactivate(named("ADA")).await.unwrap();
        let user = done.user.unwrap();
        assert!(done.changed && !user.active);
        assert_eq!((user.id.as_str(), user.version), (ada.user.id.as_str(), 2));
        assert_eq!(told(own(store, &ada).await), why(Code::Unauthenticated, ErrorReason::TokenRevoked));
        let again = operator.deactivate(with_id(&ada.user.id)).await.unwrap();
        assert_eq!((again.changed, again.user), (false, Some(user)));
        own(store, &bob).await.unwrap();
        assert_eq!(store.count("orders WHERE status = 'placed'").await, 1, "{} stays", order.id);

        let missing = why(Code::NotFound, ErrorReason::UserNotFound);
        assert_eq!(told(operator.deactivate(named("nobody")).await), missing);
        assert_eq!(told(operator.deactivate(with_id("01981f3e-7a00-7000-8000-000000000001")).await), missing);
        assert_eq!(fields(operator.deactivate(with_id("7")).await), ["user.user_id"]);
        assert_eq!(fields(operator.deactivate(named("a b")).await), ["user.username"]);
        assert_eq!(fields(operator.deactivate(Some(UserRef { by: None })).await), ["user"]);
        assert_eq!(fields(operator.deactivate(None).await), ["user"]);
        let events = store.events().await;
        let deactivated: Vec<_> = events.iter().filter(|event| event.event == "user_deactivated").collect();
        assert_eq!(deactivated.len(), 1);
        assert_eq!((&deactivated[0].actor, &deactivated[0].subject), (&"operator".to_owned(), &format!("user:{}", ada.user.id)));
    }
);

on_both!(
    async fn tokens_of_one_or_of_everyone_are_void(store: &TestDb) {
        let (operator, ada, bob) = (operator(store), store.register("ada").await, store.register("bob").await);
        let answer = operator.revoke(Some(Whose::User(named("ada").unwrap()))).await.unwrap();
        assert_eq!(answer, RevokeTokensResponse { users: 1, next_page_token: String::new() });
        let void = why(Code::Unauthenticated, ErrorReason::TokenRevoked);
        assert_eq!(told(own(store, &ada).await), void);
        own(store, &bob).await.unwrap();
        own(store, &ada.with_token_version(2)).await.unwrap();
        assert_eq!(
            told(operator.revoke(Some(Whose::User(named("nobody").unwrap()))).await),
            why(Code::NotFound, ErrorReason::UserNotFound)
        );
        assert_eq!(fields(operator.revoke(None).await), ["whose"]);

        // More users than one page has, and one whose tokens are void already.
        let id = if store.backend() == sea_orm::DbBackend::Sqlite {
            "unhex(printf('ff%030x', n))"
        } else {
            "('ff' || lpad(to_hex(n), 30, '0'))::uuid"
        };
        let now = "2026-01-01T00:00:00Z";
        store
            .sql(&format!(
                "INSERT INTO users (id, sid, sid_key, username, username_key, email, email_key, password_hash, is_active, token_version, version, created_at, updated_at) \
                 WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1500) \
                 SELECT {id}, 's' || n, 's' || n, 'user' || n, 'user' || n, n || '@x', n || '@x', '$scrypt$x', n <> 7, 1, 1, '{now}', '{now}' FROM s"
            ))
            .await;
        let (mut users, mut pages, mut page_token) = (0, 0, String::new());
        loop {
            let answer = operator.revoke(Some(Whose::Everyone(Everyone { page_token }))).await.unwrap();
            (users, pages, page_token) = (users + answer.users, pages + 1, answer.next_page_token);
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!((users, pages), (1501, 2), "all that are active: ada, bob and 1,499 more");
        assert_eq!(store.count("users WHERE token_version = 1").await, 1);
        assert_eq!(told(own(store, &bob).await), void);
        assert_eq!(told(own(store, &ada.with_token_version(2)).await), void);
        let wrong = Everyone { page_token: "x".to_owned() };
        assert_eq!(told(operator.revoke(Some(Whose::Everyone(wrong))).await), why(Code::InvalidArgument, ErrorReason::InvalidPageToken));
        let events = store.events().await;
        let revoked: Vec<_> = events.iter().filter(|event| event.event == "tokens_revoked").collect();
        let facts: Vec<_> = revoked.iter().map(|event| (event.subject.as_str(), event.attributes["users"].as_str())).collect();
        assert_eq!(facts, [(format!("user:{}", ada.user.id).as_str(), "1"), ("", "1000"), ("", "501")]);
        assert!(revoked.iter().all(|event| event.actor == "operator"));
    }
);

on_both!(
    /// Everything at once: no call fails for another one's sake, and the sums agree.
    async fn the_operator_works_in_the_middle_of_a_rush(store: &TestDb) {
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
                        let answer = client.place_orders(call(PlaceOrdersRequest { orders })).await.unwrap().into_inner();
                        for result in answer.results {
                            let outcome = result.outcome.unwrap();
                            match refused(&outcome) {
                                None => sold.push(placed(outcome)),
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
                    let mut difference = [0, 0];
                    for round in 0..10 {
                        let product = 1 + (n + round) % 2;
                        let change = if round == 5 && n == 0 { Change::Set(3) } else { Change::Add(2) };
                        let key = format!("{n}-{round}");
                        difference[usize::try_from(product - 1).unwrap()] +=
                            operator.restock(&key, product, change).await.unwrap().difference;
                        assert!(operator.restock(&key, product, change).await.unwrap().replayed);
                        operator.set_price(product, 1000 + i64::from(round)).await.unwrap();
                        operator.list(100, "", None, None).await.unwrap();
                        if n == 3 && round == 8 {
                            // Of everyone, while their orders are placed.
                            operator.revoke(Some(Whose::Everyone(Everyone::default()))).await.unwrap();
                        }
                    }
                    difference
                })
            })
            .collect();
        let mut sold: Vec<Order> = vec![];
        for task in rush {
            sold.extend(task.await.unwrap());
        }
        let mut difference = [0, 0];
        for task in operating {
            let of_task = task.await.unwrap();
            difference = [difference[0] + of_task[0], difference[1] + of_task[1]];
        }
        for product in [HOODIE, BOTTLE] {
            let pieces = i32::try_from(sold.iter().filter(|order| order.product_id == product).count()).unwrap();
            let Product { stock, .. } = store.product(product).await;
            assert!(stock >= 0);
            assert_eq!(stock, 20 + difference[usize::try_from(product - 1).unwrap()] - pieces, "product {product}");
        }
        assert_eq!(store.count("orders").await, i64::try_from(sold.len()).unwrap());
        assert_eq!(store.count("admin_requests").await, 40);
        let words = store.words().await;
        let count = |word: &str| words.iter().filter(|found| *found == word).count();
        assert_eq!((count("order_placed"), count("product_restocked"), count("users_listed")), (sold.len(), 40, 40));
        for buyer in &buyers {
            assert_eq!(told(own(store, buyer).await), why(Code::Unauthenticated, ErrorReason::TokenRevoked));
        }
    }
);

on_both!(
    async fn what_comes_from_a_backup_knows_no_token_and_says_so(store: &TestDb) {
        let ada = store.register("ada").await;
        store.sql("UPDATE users SET token_version = 7").await;
        own(store, &ada.with_token_version(7)).await.unwrap();
        merch_db::mark_restored(&store.place.url, "2026-01-01T00:00:00Z").await.unwrap();
        for version in 1..50 {
            assert_eq!(told(own(store, &ada.with_token_version(version)).await), why(Code::Unauthenticated, ErrorReason::TokenRevoked));
        }
        let events = store.events().await;
        let event = events.last().unwrap();
        assert_eq!((event.event.as_str(), event.actor.as_str()), ("store_restored", "operator"));
        assert_eq!(event.attributes["taken_at"], "2026-01-01T00:00:00Z");
        assert_eq!(merch_logging::rules::check(event), []);
    }
);
