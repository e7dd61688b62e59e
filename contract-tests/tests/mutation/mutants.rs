//! Mutants: contract violations, one at a time, made by a proxy.

mod controls;
mod headers;
mod identity;
mod lists;
mod members;
mod orders;
mod problems;
mod statuses;
mod strictness;
mod users;

use std::sync::Arc;

use serde_json::Value;

use crate::{
    exchange::{Answer, Request},
    proxy::{AnswerFuture, Behavior, Upstream},
};
pub(crate) use controls::{CATALOGUE, Control, all as controls, combined};

pub(crate) struct Mutant {
    /// The name in `docs/mutants.md`.
    pub(crate) name: &'static str,
    /// The violated operations. One of their cases must fail.
    pub(crate) operations: &'static [&'static str],
    /// The violated rule.
    pub(crate) breaks: &'static str,
    /// What the proxy does.
    pub(crate) how: &'static str,
    /// The implementation of `how`.
    pub(crate) behavior: Behavior,
    /// Extra options of the suite.
    pub(crate) given: SuiteInput,
}

/// Extra options of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SuiteInput {
    Nothing,
    /// `--expired-token`.
    ExpiredToken,
    /// `--exhaust-stock`.
    ExhaustStock,
}

impl Mutant {
    fn given(self, given: SuiteInput) -> Self {
        Self { given, ..self }
    }
}

pub(crate) fn all() -> Vec<Mutant> {
    [
        members::all(),
        statuses::all(),
        headers::all(),
        problems::all(),
        lists::all(),
        orders::all(),
        users::all(),
        identity::all(),
        strictness::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn mutant(
    name: &'static str,
    operations: &'static [&'static str],
    breaks: &'static str,
    how: &'static str,
    behavior: impl FnOnce(&'static [&'static str]) -> Behavior,
) -> Mutant {
    Mutant {
        name,
        operations,
        breaks,
        how,
        behavior: behavior(operations),
        given: SuiteInput::Nothing,
    }
}

fn is_one(request: &Request, operations: &[&str]) -> bool {
    request.operation().is_some_and(|operation| operations.contains(&operation))
}

/// Edits responses with this status; 0 is any.
fn edit_answers(
    status: u16,
    change: fn(&Request, &mut Answer),
) -> impl FnOnce(&'static [&'static str]) -> Behavior {
    move |operations| {
        handle_operations(operations, move |upstream, request| {
            Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if status == 0 || answer.status == status {
                    change(&request, &mut answer);
                }
                answer
            })
        })
    }
}

fn answer_304(request: &Request, answer: &mut Answer) {
    if request.header("if-none-match").is_some_and(|tags| tags.starts_with('"')) {
        answer.status = 304;
        answer.body.clear();
        answer.headers.remove("content-type");
    }
}

/// Edits the JSON of responses with this status.
fn edit_json_of(
    status: u16,
    change: fn(&mut Value),
) -> impl FnOnce(&'static [&'static str]) -> Behavior {
    move |operations| {
        handle_operations(operations, move |upstream, request| {
            Box::pin(async move {
                let mut answer = upstream.send(&request).await;
                if answer.status == status {
                    answer.edit_json(change);
                }
                answer
            })
        })
    }
}

fn edit_requests(change: fn(&mut Request)) -> impl FnOnce(&'static [&'static str]) -> Behavior {
    move |operations| {
        handle_operations(operations, move |upstream, mut request| {
            change(&mut request);
            Box::pin(async move { upstream.send(&request).await })
        })
    }
}

/// Replaces the handling of the mutant's operations.
fn handle(
    behavior: fn(Upstream, Request) -> AnswerFuture,
) -> impl FnOnce(&'static [&'static str]) -> Behavior {
    move |operations| handle_operations(operations, behavior)
}

/// Replaces the handling of all operations.
fn handle_all(
    behavior: fn(Upstream, Request) -> AnswerFuture,
) -> impl FnOnce(&'static [&'static str]) -> Behavior {
    move |_| Arc::new(behavior)
}

fn handle_operations(
    operations: &'static [&'static str],
    behavior: impl Fn(Upstream, Request) -> AnswerFuture + Send + Sync + 'static,
) -> Behavior {
    Arc::new(move |upstream, request| {
        if is_one(&request, operations) {
            behavior(upstream, request)
        } else {
            Box::pin(async move { upstream.send(&request).await })
        }
    })
}

pub(crate) fn pass_through() -> Behavior {
    Arc::new(|upstream, request| Box::pin(async move { upstream.send(&request).await }))
}

/// A UUID with its time reversed: later ones become smaller. An involution.
fn reverse_time(id: &str) -> Option<String> {
    let id = uuid::Uuid::try_parse(id).ok()?;
    let bits = id.as_u128() ^ (0xffff_ffff_ffff_u128 << 80);
    Some(uuid::Uuid::from_u128(bits).hyphenated().to_string())
}
