//! Ways to break the contract, one at a time: what each breaks, where, and how a proxy does it.

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
    proxy::{Act, Acting, Upstream},
};
pub(crate) use controls::{CATALOGUE, Control, all as controls, together};

/// One way to break the contract.
pub(crate) struct Mutant {
    /// Names it, for people and for `docs/mutants.md`.
    pub(crate) name: &'static str,
    /// The operations that it breaks. The suite runs their cases, and has to fail in one of them.
    pub(crate) operations: &'static [&'static str],
    /// What the contract says and the mutant does not do.
    pub(crate) breaks: &'static str,
    /// What the proxy does.
    pub(crate) how: &'static str,
    /// How it does that.
    pub(crate) act: Act,
    /// What the suite is given for it.
    pub(crate) given: Given,
}

/// What the suite is given to notice a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// The address.
    Nothing,
    /// `--expired-token`.
    ExpiredToken,
    /// `--exhaust-stock`.
    ExhaustStock,
}

impl Mutant {
    fn given(self, given: Given) -> Self {
        Self { given, ..self }
    }
}

/// Every mutant.
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
    act: impl FnOnce(&'static [&'static str]) -> Act,
) -> Mutant {
    Mutant { name, operations, breaks, how, act: act(operations), given: Given::Nothing }
}

/// Whether a request is one of these operations.
fn is_one(request: &Request, operations: &[&str]) -> bool {
    request.operation().is_some_and(|operation| operations.contains(&operation))
}

/// Changes the answers of one status of the mutant's operations; 0 is any status.
fn answers(
    status: u16,
    change: fn(&Request, &mut Answer),
) -> impl FnOnce(&'static [&'static str]) -> Act {
    move |operations| {
        whole_of(operations, move |upstream, request| {
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

/// Says that nothing has changed since any version that the client names.
fn never_changed(request: &Request, answer: &mut Answer) {
    if request.header("if-none-match").is_some_and(|tags| tags.starts_with('"')) {
        answer.status = 304;
        answer.body.clear();
        answer.headers.remove("content-type");
    }
}

/// Changes the JSON of the answers of one status of the mutant's operations.
fn json_of(status: u16, change: fn(&mut Value)) -> impl FnOnce(&'static [&'static str]) -> Act {
    move |operations| {
        whole_of(operations, move |upstream, request| {
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

/// Changes the requests of the mutant's operations.
fn requests(change: fn(&mut Request)) -> impl FnOnce(&'static [&'static str]) -> Act {
    move |operations| {
        whole_of(operations, move |upstream, mut request| {
            change(&mut request);
            Box::pin(async move { upstream.send(&request).await })
        })
    }
}

/// Answers the requests of the mutant's operations in any way.
fn whole(act: fn(Upstream, Request) -> Acting) -> impl FnOnce(&'static [&'static str]) -> Act {
    move |operations| whole_of(operations, act)
}

/// Answers every request in any way, also of other operations: where what an operation does shows
/// elsewhere.
fn everywhere(act: fn(Upstream, Request) -> Acting) -> impl FnOnce(&'static [&'static str]) -> Act {
    move |_| Arc::new(act)
}

fn whole_of(
    operations: &'static [&'static str],
    act: impl Fn(Upstream, Request) -> Acting + Send + Sync + 'static,
) -> Act {
    Arc::new(move |upstream, request| {
        if is_one(&request, operations) {
            act(upstream, request)
        } else {
            Box::pin(async move { upstream.send(&request).await })
        }
    })
}

/// Passes everything on.
pub(crate) fn nothing() -> Act {
    Arc::new(|upstream, request| Box::pin(async move { upstream.send(&request).await }))
}

/// The same UUID with its time counted backwards: of two of them, the later one becomes the
/// smaller. Twice is the UUID itself.
fn backwards(id: &str) -> Option<String> {
    let id = uuid::Uuid::try_parse(id).ok()?;
    let bits = id.as_u128() ^ (0xffff_ffff_ffff_u128 << 80);
    Some(uuid::Uuid::from_u128(bits).hyphenated().to_string())
}
