//! The golden library as a test server, with planned responses and rejections that show all fields.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::sync::{Arc, Mutex};

use poem::{Body, Endpoint, Request, Response, http::Method};
use poem_contract_runtime::{CredentialFault, Limits, Rejection, RejectionHandler};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

#[rustfmt::skip]
#[path = "../golden/library.rs"]
pub mod server;

use server::*;

pub const LIMIT: usize = 1000;

pub fn document() -> Value {
    serde_norway::from_str(include_str!("../golden/library.yaml")).expect("the document is YAML")
}

/// The recorded calls and planned responses.
#[derive(Default)]
pub struct Library {
    pub calls: Mutex<Vec<String>>,
    pub list: Mutex<Option<ListBooksResponse>>,
    pub add: Mutex<Option<AddBookResponse>>,
    pub get: Mutex<Option<GetBookResponse>>,
    pub lend: Mutex<Option<LendResponse>>,
}

impl Library {
    fn called(&self, call: impl std::fmt::Debug) {
        self.calls.lock().expect("no test panics with it").push(format!("{call:?}"));
    }
}

pub fn book() -> Book {
    Book {
        id: Uuid::from_u128(1),
        title: "Momo".to_owned(),
        genre: Genre::NonFiction,
        shelf: i64::MAX,
        added_at: OffsetDateTime::UNIX_EPOCH,
        lent_until: None,
        returned_at: None,
        r#type: "book".to_owned(),
    }
}

impl ReadingRoom for Library {
    async fn list_books(
        &self,
        limit: i32,
        since: Option<OffsetDateTime>,
        shelf: Option<i64>,
        genre: Option<Genre>,
        sort: ListBooksSort,
        r#type: Option<String>,
        available: bool,
    ) -> ListBooksResponse {
        self.called((limit, since, shelf, genre, sort, r#type, available));
        let planned = self.list.lock().expect("no test panics with it").clone();
        planned.unwrap_or_else(|| ListBooksResponse::Ok {
            body: BookPage { items: vec![book()], next_page: None }.into(),
            x_total: None,
        })
    }

    async fn add_book(&self, reader_card: ReaderCard, body: NewBook) -> AddBookResponse {
        self.called((reader_card.token(), &body));
        let planned = self.add.lock().expect("no test panics with it").clone();
        planned.unwrap_or_else(|| AddBookResponse::Created {
            body: book().into(),
            location: "/books/1".to_owned(),
            etag: "\"1\"".to_owned(),
        })
    }

    async fn get_book(&self, book_id: BookId, if_none_match: Option<String>) -> GetBookResponse {
        self.called((book_id, &if_none_match));
        let planned = self.get.lock().expect("no test panics with it").clone();
        planned.unwrap_or_else(|| GetBookResponse::Ok { body: book().into() })
    }
}

impl Loans for Library {
    async fn lend(
        &self,
        reader_card: ReaderCard,
        genre: Genre,
        shelf: i32,
        reader: String,
        x_desk: Option<i32>,
        receipt_key: Option<String>,
        body: Loan,
    ) -> LendResponse {
        self.called((&reader_card, genre, shelf, reader, x_desk, receipt_key, &body));
        self.lend.lock().expect("no test panics with it").clone().unwrap_or(LendResponse::NoContent)
    }
}

/// Answers with every field of a rejection.
pub struct DebugRejections;

impl RejectionHandler for DebugRejections {
    fn respond(&self, rejection: Rejection) -> Response {
        let (status, body) = match rejection {
            Rejection::InvalidRequest { faults } => {
                let faults = faults.listed().iter();
                let faults: Vec<Value> = faults
                    .map(|fault| json!([fault.location.as_str(), fault.pointer, fault.detail]))
                    .collect();
                (400, json!(faults))
            }
            Rejection::Unauthenticated { reason } => {
                let reason = match reason {
                    CredentialFault::Missing => "missing",
                    CredentialFault::WrongScheme => "wrong scheme",
                    CredentialFault::Malformed => "malformed",
                    CredentialFault::Repeated => "repeated",
                };
                (401, json!(reason))
            }
            Rejection::UnknownRoute => (404, json!("unknown route")),
            Rejection::MethodNotAllowed { allowed } => (405, json!(allowed)),
            Rejection::BodyTooLarge { limit } => (413, json!(limit)),
            Rejection::UnsupportedMediaType { expected } => (415, json!(expected)),
            Rejection::UnsupportedContentCoding => (415, json!("identity")),
        };
        let status = poem::http::StatusCode::from_u16(status).expect("a status");
        Response::builder().status(status).body(body.to_string())
    }
}

/// The generated server and its implementation.
pub struct TestServer<E> {
    pub endpoint: E,
    pub library: Arc<Library>,
}

pub fn test_server() -> TestServer<impl Endpoint> {
    let library = Arc::new(Library::default());
    let endpoint =
        api(Arc::clone(&library), Arc::new(DebugRejections), Limits { body_bytes: LIMIT });
    TestServer { endpoint, library }
}

/// Status, headers and body of a response.
pub struct TestResponse {
    pub status: u16,
    pub response: Response,
    pub text: String,
}

impl TestResponse {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name).map(|value| value.to_str().expect("text"))
    }
}

impl<E: Endpoint> TestServer<E> {
    /// Sends a request; headers may repeat.
    pub async fn send(
        &self,
        method: Method,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> TestResponse {
        let mut request = Request::builder().method(method).uri_str(uri).body(body.into());
        for (name, value) in headers {
            let name =
                poem::http::HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
            request.headers_mut().append(
                name,
                poem::http::HeaderValue::from_bytes(value.as_bytes()).expect("a header's value"),
            );
        }
        let mut response = self.endpoint.get_response(request).await;
        let text = response.take_body().into_string().await.expect("text");
        TestResponse { status: response.status().as_u16(), response, text }
    }

    pub async fn get(&self, uri: &str) -> TestResponse {
        self.send(Method::GET, uri, &[], ()).await
    }

    /// Lends with a body and valid parameters.
    pub async fn lend(&self, body: impl Into<Body>) -> TestResponse {
        self.lend_at("/shelves/1/prose/loans?reader=Momo", &[], body).await
    }

    pub async fn lend_at(
        &self,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> TestResponse {
        let mut all = vec![("authorization", "Bearer card"), ("content-type", "application/json")];
        all.extend(headers);
        self.send(Method::PUT, uri, &all, body).await
    }

    /// Returns the calls since the last one of this method.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.library.calls.lock().expect("no test panics with it"))
    }
}

pub fn loan() -> Value {
    json!({ "days": 14, "pin": "4711", "note": null, "to": { "email": "momo@example.org" } })
}

/// Returns [`loan`] with some members replaced.
pub fn loan_with(changes: Value) -> String {
    let mut loan = loan();
    for (name, value) in changes.as_object().expect("an object") {
        loan[name] = value.clone();
    }
    loan.to_string()
}
