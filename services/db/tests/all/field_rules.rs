//! The rules of the fields of `proto/`: values at, below and above each bound.

use std::fmt::Debug;

use merch_contract::grpc::{
    admin::v1::{self as admin, restock_request::Change, revoke_tokens_request::Whose, user_ref},
    assistant::v1::{
        begin_password_check_request, get_credentials_request, place_order_result::Outcome, *,
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{admin::operator, harness::*};

const ID: &str = "01890000-0000-7000-8000-00000000000a";

/// Sends requests to one service.
struct Method<'a, R, F> {
    send: F,
    base: R,
    store: &'a TestService,
}

impl<R: Clone, F: AsyncFn(&TestService, R) -> Vec<String>> Method<'_, R, F> {
    /// Sends a request with each value. `set` writes it to the field `path`.
    async fn field<V: Clone + Debug>(
        &self,
        path: &str,
        set: impl Fn(&mut R, V),
        (valid, invalid): (Vec<V>, Vec<V>),
    ) {
        for (values, expected) in [(valid, vec![]), (invalid, vec![path.to_owned()])] {
            for value in values {
                let mut request = self.base.clone();
                set(&mut request, value.clone());
                assert_eq!((self.send)(self.store, request).await, expected, "{path}: {value:?}");
            }
        }
    }
}

/// Returns the fields that a call refused. An error of another kind is none.
fn refused<T: Debug>(outcome: Result<T, Status>) -> Vec<String> {
    match outcome {
        Err(status)
            if status.code() == Code::InvalidArgument
                && status
                    .get_error_details()
                    .error_info()
                    .is_some_and(|info| info.reason == "ERROR_REASON_INVALID_FIELD") =>
        {
            invalid_fields(Err::<T, _>(status))
        }
        Ok(_) | Err(_) => vec![],
    }
}

macro_rules! method {
    ($store:ident, $method:ident, $base:expr) => {
        Method {
            send: async |store: &TestService, request| {
                refused(store.client().$method(call(request)).await)
            },
            base: $base,
            store: $store,
        }
    };
    ($store:ident, admin $method:ident, $base:expr) => {
        Method {
            send: async |store: &TestService, request| {
                refused(operator(store).0.clone().$method(call(request)).await)
            },
            base: $base,
            store: $store,
        }
    };
}

type Values<V> = (Vec<V>, Vec<V>);

fn texts(valid: &[&str], invalid: &[&str]) -> Values<String> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    (owned(valid), owned(invalid))
}

fn sids() -> Values<String> {
    texts(&["a", "Z9", &"A".repeat(15)], &["", &"A".repeat(16), "a b", "a-b", "é", "a\n"])
}

fn usernames() -> Values<String> {
    texts(
        &["abc", "a_.-Z9", &"u".repeat(50)],
        &["", "ab", &"u".repeat(51), "a b", "a/b", "ééé", "abc\n"],
    )
}

fn emails() -> Values<String> {
    texts(
        &["x", "\u{a0}", &"é".repeat(255)],
        &["", &"é".repeat(256), "a b", "a\n", "a\u{7f}", "a\u{85}", "\0"],
    )
}

fn hashes() -> Values<String> {
    texts(
        &["$scrypt$", &format!("$scrypt${}", "x".repeat(504))],
        &["x", "$SCRYPT$x", "$scrypt$ x", "$scrypt$é", &format!("$scrypt${}", "x".repeat(505))],
    )
}

fn ids() -> Values<String> {
    texts(
        &[ID, &ID.to_uppercase()],
        &["", "7", &ID.replace('-', ""), &format!("urn:uuid:{ID}"), &ID.replace('a', "g")],
    )
}

fn networks() -> Values<String> {
    texts(
        &["", "192.0.2.1", "2001:db8::", "2001:db8::1"],
        &["here", "192.0.2.1/24", "192.0.2", "fe80::1%eth0", "192.0.2.1 "],
    )
}

fn keys() -> Values<String> {
    texts(&["!", &"~".repeat(255)], &["a b", &"k".repeat(256), "é", "\u{7f}", "k\n"])
}

fn trace_ids() -> Values<String> {
    let hex = "0123456789abcdef".repeat(2);
    texts(
        &["", &hex],
        &[&hex[1..], &format!("{hex}0"), &hex.to_uppercase(), &hex.replace('f', "g")],
    )
}

fn request_ids() -> Values<String> {
    texts(&["", "!~", &"r".repeat(128)], &[&"r".repeat(129), "a b", "é"])
}

fn reservations() -> Values<Vec<u8>> {
    let bytes = |lengths: &[usize]| lengths.iter().map(|length| vec![7; *length]).collect();
    (bytes(&[0, 32, 64]), bytes(&[1, 31, 33, 63, 65, 96]))
}

fn page_sizes() -> Values<i32> {
    (vec![1, 100], vec![i32::MIN, -1, 0, 101, i32::MAX])
}

fn caller(user_id: impl Into<String>) -> Option<Caller> {
    Some(Caller { user_id: user_id.into(), token_version: 1 })
}

fn unset<T>() -> Values<Option<T>> {
    (vec![], vec![None])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_of_user_requests() {
    let store = &TestService::start(TestDatabase::sqlite().await).await;
    let context =
        |request_id: String, trace_id: String| Some(RequestContext { request_id, trace_id });

    let create = method!(store, create_user, new_user("ada"));
    create.field("sid", |r, v| r.sid = v, sids()).await;
    create.field("username", |r, v| r.username = v, usernames()).await;
    create.field("email", |r, v| r.email = v, emails()).await;
    create.field("password_hash", |r, v| r.password_hash = v, hashes()).await;
    create.field("password_hash", |r, v| r.password_hash = v, texts(&[], &[""])).await;
    create.field("client_network", |r, v| r.client_network = v, networks()).await;
    create
        .field("context.request_id", |r, v| r.context = context(v, String::new()), request_ids())
        .await;
    create
        .field("context.trace_id", |r, v| r.context = context(String::new(), v), trace_ids())
        .await;
    create.field("context", |r, v: Option<_>| r.context = v, (vec![None], vec![])).await;

    let available = CheckAvailabilityRequest {
        sid: "ada".to_owned(),
        username: "ada".to_owned(),
        email: "ada@example.org".to_owned(),
    };
    let available = method!(store, check_availability, available);
    available.field("sid", |r, v| r.sid = v, sids()).await;
    available.field("username", |r, v| r.username = v, usernames()).await;
    available.field("email", |r, v| r.email = v, emails()).await;

    let by_name = begin_password_check_request::By::Username;
    let by_caller = begin_password_check_request::By::Caller;
    let begin = BeginPasswordCheckRequest {
        by: Some(by_name("ada".to_owned())),
        client_network: String::new(),
    };
    let begin = method!(store, begin_password_check, begin);
    begin.field("username", |r, v| r.by = Some(by_name(v)), usernames()).await;
    begin.field("caller.user_id", |r, v: String| r.by = caller(v).map(by_caller), ids()).await;
    begin.field("by", |r, v| r.by = v, unset()).await;
    begin.field("client_network", |r, v| r.client_network = v, networks()).await;

    let cancel = CancelPasswordCheckRequest::default();
    let cancel = method!(store, cancel_password_check, cancel);
    cancel.field("reservation", |r, v| r.reservation = v, reservations()).await;

    let by_name = get_credentials_request::By::Username;
    let by_caller = get_credentials_request::By::Caller;
    let credentials = GetCredentialsRequest { by: Some(by_name("ada".to_owned())) };
    let credentials = method!(store, get_credentials, credentials);
    let any_name = (usernames().1, vec![]);
    credentials.field("username", |r, v| r.by = Some(by_name(v)), any_name).await;
    credentials
        .field("caller.user_id", |r, v: String| r.by = caller(v).map(by_caller), ids())
        .await;
    credentials.field("by", |r, v| r.by = v, unset()).await;

    let log_in = RecordLogInRequest { caller: caller(ID), ..RecordLogInRequest::default() };
    let log_in = method!(store, record_log_in, log_in);
    log_in.field("caller", |r, v| r.caller = v, unset()).await;
    log_in.field("caller.user_id", |r, v: String| r.caller = caller(v), ids()).await;
    log_in.field("client_network", |r, v| r.client_network = v, networks()).await;
    log_in.field("reservation", |r, v| r.reservation = v, reservations()).await;
    log_in.field("renewed_hash", |r, v| r.renewed_hash = v, hashes()).await;
    log_in.field("renewed_hash", |r, v| r.renewed_hash = v, texts(&[""], &[])).await;

    let revoke = RevokeTokensRequest { context: None, caller: caller(ID) };
    let revoke = method!(store, revoke_tokens, revoke);
    revoke.field("caller", |r, v| r.caller = v, unset()).await;

    let get = GetUserRequest { caller: caller(ID), user_id: ID.to_owned() };
    let get = method!(store, get_user, get);
    get.field("caller", |r, v| r.caller = v, unset()).await;
    get.field("user_id", |r, v| r.user_id = v, ids()).await;

    let update = UpdateUserRequest {
        caller: caller(ID),
        user_id: ID.to_owned(),
        ..UpdateUserRequest::default()
    };
    let update = method!(store, update_user, update);
    update.field("caller", |r, v| r.caller = v, unset()).await;
    update.field("user_id", |r, v| r.user_id = v, ids()).await;
    update.field("username", |r, v| r.username = Some(v), usernames()).await;
    update.field("email", |r, v| r.email = Some(v), emails()).await;

    let change = ChangePasswordRequest {
        caller: caller(ID),
        user_id: ID.to_owned(),
        password_hash: HASH.to_owned(),
        ..ChangePasswordRequest::default()
    };
    let change = method!(store, change_password, change);
    change.field("caller", |r, v| r.caller = v, unset()).await;
    change.field("user_id", |r, v| r.user_id = v, ids()).await;
    change.field("password_hash", |r, v| r.password_hash = v, hashes()).await;
    change.field("password_hash", |r, v| r.password_hash = v, texts(&[], &[""])).await;
    change.field("client_network", |r, v| r.client_network = v, networks()).await;
    change.field("reservation", |r, v| r.reservation = v, reservations()).await;

    let deactivate =
        DeactivateUserRequest { context: None, caller: caller(ID), user_id: ID.to_owned() };
    let deactivate = method!(store, deactivate_user, deactivate);
    deactivate.field("caller", |r, v| r.caller = v, unset()).await;
    deactivate.field("user_id", |r, v| r.user_id = v, ids()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_of_product_and_order_requests() {
    let store = &TestService::start(TestDatabase::sqlite().await).await;

    let products = ListProductsRequest { page_size: 1, ..ListProductsRequest::default() };
    let products = method!(store, list_products, products);
    products.field("page_size", |r, v| r.page_size = v, page_sizes()).await;
    let categories = texts(&["c", "\0", &"é".repeat(50)], &["", &"c".repeat(51)]);
    products.field("category", |r, v| r.category = Some(v), categories).await;

    let orders =
        ListOrdersRequest { caller: caller(ID), page_size: 1, ..ListOrdersRequest::default() };
    let orders = method!(store, list_orders, orders);
    orders.field("caller", |r, v| r.caller = v, unset()).await;
    orders.field("page_size", |r, v| r.page_size = v, page_sizes()).await;
    orders.field("status", |r, v| r.status = v, (vec![0, 1, 2], vec![-1, 3, i32::MAX])).await;

    let get = GetOrderRequest { caller: caller(ID), order_id: ID.to_owned() };
    let get = method!(store, get_order, get);
    get.field("caller", |r, v| r.caller = v, unset()).await;
    get.field("order_id", |r, v| r.order_id = v, ids()).await;

    let cancel = CancelOrderRequest { context: None, caller: caller(ID), order_id: ID.to_owned() };
    let cancel = method!(store, cancel_order, cancel);
    cancel.field("caller", |r, v| r.caller = v, unset()).await;
    cancel.field("order_id", |r, v| r.order_id = v, ids()).await;

    // The refusal of an order names its fields in a text.
    let order = NewOrder {
        context: None,
        caller: caller(ID),
        product_id: HOODIE,
        quantity: 1,
        idempotency_key: String::new(),
        time_left_ms: None,
    };
    let place = Method {
        send: async |store: &TestService, order| {
            let outcome = store.place(vec![order]).await.unwrap().remove(0);
            match outcome {
                Outcome::Refusal(refusal)
                    if refusal.reason == i32::from(ErrorReason::InvalidField) =>
                {
                    let fields = refusal.message.split("; ").filter_map(|violation| {
                        violation.split_once(": expected ").map(|(field, _)| field.to_owned())
                    });
                    fields.collect()
                }
                Outcome::Refusal(_) | Outcome::Order(_) => vec![],
            }
        },
        base: order,
        store,
    };
    place.field("caller", |r, v| r.caller = v, unset()).await;
    place.field("caller.user_id", |r, v: String| r.caller = caller(v), ids()).await;
    place.field("quantity", |r, v| r.quantity = v, (vec![1, 3], vec![-1, 0, 4])).await;
    place.field("idempotency_key", |r, v| r.idempotency_key = v, keys()).await;
    place.field("idempotency_key", |r, v| r.idempotency_key = v, texts(&[""], &[])).await;
    let times = (vec![None, Some(0), Some(i32::MAX)], vec![Some(-1)]);
    place.field("time_left_ms", |r, v| r.time_left_ms = v, times).await;
    let context = |request_id, trace_id| Some(RequestContext { request_id, trace_id });
    place
        .field("context.request_id", |r, v| r.context = context(v, String::new()), request_ids())
        .await;
    place
        .field("context.trace_id", |r, v| r.context = context(String::new(), v), trace_ids())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_of_operator_requests() {
    const BILLION: i32 = 1_000_000_000;
    let store = &TestService::start(TestDatabase::sqlite().await).await;

    let restock = admin::RestockRequest {
        context: None,
        idempotency_key: "k".to_owned(),
        // No such product: a valid change would fill the stock.
        product_id: 99,
        change: Some(Change::Add(1)),
    };
    let restock = method!(store, admin restock, restock);
    restock.field("idempotency_key", |r, v| r.idempotency_key = v, keys()).await;
    restock.field("idempotency_key", |r, v| r.idempotency_key = v, texts(&[], &[""])).await;
    let pieces = (vec![1, BILLION], vec![i32::MIN, -1, 0, BILLION + 1]);
    restock.field("add", |r, v| r.change = Some(Change::Add(v)), pieces).await;
    let pieces = (vec![0, BILLION], vec![i32::MIN, -1, BILLION + 1]);
    restock.field("set", |r, v| r.change = Some(Change::Set(v)), pieces).await;
    restock.field("change", |r, v| r.change = v, unset()).await;

    let price = admin::SetPriceRequest { context: None, product_id: 99, price_cents: 1 };
    let price = method!(store, admin set_price, price);
    let cents = (vec![0, 1_000_000_000_000], vec![i64::MIN, -1, 1_000_000_000_001]);
    price.field("price_cents", |r, v| r.price_cents = v, cents).await;

    let list = admin::ListUsersRequest { page_size: 1, ..admin::ListUsersRequest::default() };
    let list = method!(store, admin list_users, list);
    list.field("page_size", |r, v| r.page_size = v, page_sizes()).await;
    let prefixes = texts(&["a", "_.-", &"u".repeat(50)], &["", &"u".repeat(51), "a%", "é", "a\n"]);
    list.field("username_prefix", |r, v| r.username_prefix = Some(v), prefixes).await;

    let by = |by| Some(admin::UserRef { by: Some(by) });
    let deactivate = admin::DeactivateUserRequest {
        context: None,
        user: by(user_ref::By::Username("unknown".to_owned())),
    };
    let deactivate = method!(store, admin deactivate_user, deactivate);
    deactivate.field("user.user_id", |r, v| r.user = by(user_ref::By::UserId(v)), ids()).await;
    deactivate
        .field("user.username", |r, v| r.user = by(user_ref::By::Username(v)), usernames())
        .await;
    deactivate.field("user", |r, v| r.user = v, unset()).await;
    deactivate.field("user.by", |r, by| r.user = Some(admin::UserRef { by }), unset()).await;

    let revoke = admin::RevokeTokensRequest {
        context: None,
        whose: Some(Whose::Everyone(admin::Everyone::default())),
    };
    let revoke = method!(store, admin revoke_tokens, revoke);
    revoke
        .field("user.user_id", |r, v| r.whose = by(user_ref::By::UserId(v)).map(Whose::User), ids())
        .await;
    revoke.field("whose", |r, v| r.whose = v, unset()).await;
}
