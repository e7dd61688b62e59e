//! 500 and 503 of every operation, caused by a failing db service, without hooks in the api or a
//! list of methods.

use std::collections::BTreeSet;

use contract_tests::{
    check::Exchange,
    document::{Document, Operation},
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use hyper::Method;
use merch_test_store::{Options, TestStore, fresh_name};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    exchange::{Answer, Request},
    faulty_db::{Fault, FaultyDb, MARKER},
    proxy::Upstream,
};

const PASSWORD: &str = "correct horse battery staple";

/// Failures without a contractual reason, and the expected status: 503 if a retry can help, 500 if
/// not (docs/errors.md).
fn faults() -> Vec<(Fault, u16)> {
    let bugs = [
        Code::Unknown,
        Code::InvalidArgument,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::FailedPrecondition,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Internal,
        Code::DataLoss,
        Code::Unauthenticated,
    ];
    let passing =
        [Code::Cancelled, Code::DeadlineExceeded, Code::ResourceExhausted, Code::Unavailable];
    let bugs =
        bugs.into_iter().map(|code| (Fault::Status(code), 500)).chain([(Fault::Garbage, 500)]);
    bugs.chain(passing.into_iter().map(|code| (Fault::Status(code), 503)))
        .chain([(Fault::Break, 503)])
        .collect()
}

/// A user with an order.
struct Buyer {
    id: String,
    username: String,
    token: String,
    order: String,
}

impl Buyer {
    async fn new(api: &Upstream) -> Self {
        let name = fresh_name();
        let user = json!({ "sid": name, "username": name, "email": format!("{name}@mail.example.com"), "password": PASSWORD });
        let registered = api.send(&Request::new(Method::POST, "/users").with_json(&user)).await;
        assert_eq!(registered.status, 201, "{registered:?}");
        let login = api.log_in(&name, PASSWORD).await.expect("a user just registered can log in");
        let order = Request::new(Method::POST, "/orders")
            .with_token(&login.token)
            .with_json(&json!({ "product_id": 1, "quantity": 1 }));
        let placed = api.send(&order).await;
        assert_eq!(placed.status, 201, "{placed:?}");
        let order = placed.json()["id"].as_str().expect("an order has an id").to_owned();
        Self { id: login.user_id, username: name, token: login.token, order }
    }

    /// A valid request to an operation, usable once.
    fn request(&self, operation: &Operation) -> Request {
        let path = operation
            .path
            .replace("{user_id}", &self.id)
            .replace("{order_id}", &self.order)
            .replace("{product_id}", "1");
        assert!(
            !path.contains('{'),
            "{}: add a value for the parameter of {path} here",
            operation.id
        );
        let mut request = Request::new(operation.method.clone(), path);
        if operation.secured {
            request = request.with_token(&self.token);
        }
        if operation.request_body.is_some() {
            request.with_json(&self.body(&operation.id))
        } else {
            request
        }
    }

    fn body(&self, operation: &str) -> Value {
        let name = fresh_name();
        match operation {
            "register" => {
                json!({ "sid": name, "username": name, "email": format!("{name}@mail.example.com"), "password": PASSWORD })
            }
            "log_in" => json!({ "username": self.username, "password": PASSWORD }),
            "update_user" => json!({ "username": name }),
            "change_password" => {
                json!({ "current_password": PASSWORD, "new_password": "a much longer battery staple" })
            }
            "place_order" => json!({ "product_id": 1, "quantity": 1 }),
            other => panic!("add the body of {other} here"),
        }
    }
}

/// Calls every operation that declares 500 or 503 with each of its gRPC methods failing in each
/// way. Returns the covered statuses.
///
/// # Panics
/// If a response is wrong or reveals the failure.
pub(crate) async fn exercise(store: &TestStore, document: &Document) -> BTreeSet<(String, u16)> {
    let db = FaultyDb::start(&store.db_url()).await;
    // The defaults do not limit log-ins, and all test stores share a key.
    let faulty = Upstream::new(&store.start_another_api(&Options::default(), db.url()).await);
    let healthy = Upstream::new(store.url());
    // Failed calls change nothing, so one user suffices.
    let victim = Buyer::new(&healthy).await;
    let mut exercised = BTreeSet::new();
    let mut wrong = Vec::new();
    let declares = |operation: &&Operation| {
        operation.responses.contains_key(&500) || operation.responses.contains_key(&503)
    };
    for operation in document.operations().iter().filter(declares) {
        let buyer = Buyer::new(&healthy).await;
        db.take_called();
        let answer = faulty.send(&buyer.request(operation)).await;
        assert!(
            answer.status < 300,
            "{}: expected success without a fault, got {answer:?}",
            operation.id
        );
        let methods: BTreeSet<String> = db.take_called().into_iter().collect();
        assert!(
            !methods.is_empty(),
            "{} declares 500 or 503, and calls no method of the db service",
            operation.id
        );
        for method in methods {
            for (fault, status) in faults() {
                db.fail(&method, fault.clone());
                let request = victim.request(operation);
                let answer = faulty.send(&request).await;
                db.restore();
                let found = faults_of(document, &request, &answer, status);
                if found.is_empty() {
                    exercised.insert((operation.id.clone(), status));
                } else {
                    wrong.push(format!(
                        "{}, {method} with {fault:?}: {}",
                        operation.id,
                        found.join("; ")
                    ));
                }
            }
        }
    }
    for operation in document
        .operations()
        .iter()
        .filter(|operation| operation.secured && operation.responses.contains_key(&429))
    {
        let found =
            exceed_user_limit(&db, &faulty, &Buyer::new(&healthy).await, document, operation).await;
        if found.is_empty() {
            exercised.insert((operation.id.clone(), 429));
        } else {
            wrong.push(format!(
                "{}, at the limit of one user's concurrent requests: {}",
                operation.id,
                found.join("; ")
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "failures of the db service have to be answered as docs/errors.md says:\n- {}",
        wrong.join("\n- ")
    );
    // The api reconnects.
    let again = faulty
        .send(&victim.request(document.operation("get_user").expect("the document declares it")))
        .await;
    assert_eq!(again.status, 200, "{again:?}");
    exercised
}

/// Exceeds one user's limit of concurrent requests while the db service stalls. Returns the faults
/// of the first response.
async fn exceed_user_limit(
    db: &FaultyDb,
    faulty: &Upstream,
    buyer: &Buyer,
    document: &Document,
    operation: &Operation,
) -> Vec<String> {
    const MAX_CONCURRENT: usize = merch_api::Config::WRITES_PER_USER.get();
    let request = buyer.request(operation);
    db.stall();
    let requests = (0..=MAX_CONCURRENT).map(|_| faulty.send(&request));
    let mut requests: FuturesUnordered<_> = requests.collect();
    // The others wait for the db service.
    let refused = requests.next().await.expect("a request is sent");
    db.restore();
    let found = faults_of(document, &request, &refused, 429);
    let answers: Vec<Answer> = requests.collect().await;
    let answered = answers.iter().all(|answer| ![429, 500].contains(&answer.status));
    if answered {
        found
    } else {
        [found, vec![format!("expected responses to the other requests, got {answers:?}")]].concat()
    }
}

fn faults_of(document: &Document, request: &Request, answer: &Answer, status: u16) -> Vec<String> {
    let exchange = Exchange {
        method: request.method.as_str(),
        path: &request.target,
        status: answer.status,
        headers: &answer.headers,
        body: &answer.body,
    };
    let mut faults = document.check(&exchange);
    if answer.status != status {
        faults.push(format!("expected {status}, got {}", answer.status));
    }
    let code = match status {
        429 => "too_many_writes",
        503 => "unavailable",
        _ => "internal_error",
    };
    if answer.json()["code"] != code {
        faults.push(format!("expected the code {code}, got {}", answer.json()["code"]));
    }
    if matches!(status, 429 | 503)
        && answer
            .header("retry-after")
            .and_then(|seconds| seconds.parse::<u32>().ok())
            .is_none_or(|seconds| seconds == 0)
    {
        faults.push("expected `Retry-After`".to_owned());
    }
    let text = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
    if text.contains(MARKER) {
        faults.push(format!("expected no internal text in the response, got {text}"));
    }
    faults
}
