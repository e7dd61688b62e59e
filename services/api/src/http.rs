//! The handlers: each one calls one use case of `app`.

mod errors;
mod greeting;
mod orders;
mod problem_responses;
mod products;
mod rejections;
mod users;

use std::{future::Future, sync::Arc};

use merch_contract::rest::server as rest;
use poem::{Endpoint, Response};
use poem_contract_runtime::{Encoded, Limits};

use crate::{app::App, problem::Problem};
pub(crate) use rejections::{ProblemRejections, RejectedCredential};

struct Handlers {
    app: Arc<App>,
    greeting: Encoded<rest::Greeting>,
}

/// Returns the endpoint of all operations; others get 404 or 405.
pub(crate) fn operations(app: Arc<App>, body_limit: usize) -> impl Endpoint<Output = Response> {
    let handlers = Handlers { app, greeting: greeting::greeting().into() };
    rest::api(Arc::new(handlers), Arc::new(ProblemRejections), Limits { body_bytes: body_limit })
}

/// Rejects an empty `page_token`: the db service would return the first page for it.
fn page_token(token: Option<String>) -> Result<Option<String>, Problem> {
    if token.as_deref() == Some("") { Err(errors::invalid_page_token()) } else { Ok(token) }
}

/// Maps a problem to the response that the operation declares for it.
async fn respond<R: From<Problem>>(work: impl Future<Output = Result<R, Problem>>) -> R {
    work.await.unwrap_or_else(R::from)
}
