//! The handler floor: what the contract gives in, one use-case, what the contract allows out.
//! Nothing is decided here.

mod dialog;
mod orders;
mod products;
mod refusals;
mod rejections;
mod users;

use std::{future::Future, sync::Arc};

use merch_contract::rest::server as rest;
use poem::{Endpoint, Response};
use poem_contract_runtime::Limits;

use crate::{db::wrong_page_token, problem::Problem, store::Store};
pub(crate) use rejections::{Answers, RefusedCredential};

/// Implements every operation of the document over the store's use-cases.
struct Api {
    store: Arc<Store>,
    greeting: rest::Greeting,
}

/// The operations of the document, as an endpoint that answers everything else with 404 and 405.
pub(crate) fn operations(store: Arc<Store>, body_limit: usize) -> impl Endpoint<Output = Response> {
    let api = Api { store, greeting: dialog::greeting() };
    rest::api(Arc::new(api), Arc::new(Answers), Limits { body_bytes: body_limit })
}

/// The `page_token` of a request. An empty one is none that a page ever had; to the db service it
/// would mean the first page, as in gRPC none is sent so.
fn page_token(sent: Option<String>) -> Result<Option<String>, Problem> {
    if sent.as_deref() == Some("") { Err(wrong_page_token()) } else { Ok(sent) }
}

/// The answer to an operation: its own, or the problem as this operation declares it.
async fn answer<R: From<Problem>>(work: impl Future<Output = Result<R, Problem>>) -> R {
    work.await.unwrap_or_else(R::from)
}
