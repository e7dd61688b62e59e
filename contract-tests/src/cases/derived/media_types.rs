//! Bodies that are not declared as what the operation takes, and bodies that are larger than the
//! server takes.

use std::time::Duration;

use serde_json::json;

use super::{
    UNDECLARED,
    members::{self, Extent},
    target::{As, Target},
    verdict::{self, Spot},
};
use crate::{
    document::Location,
    suite::{Case, Failure},
};

/// How large the bodies are that are tried one after the other, in bytes, until one is too large.
const SIZES: [usize; 3] = [128 << 10, 1 << 20, 16 << 20];

/// How often a body is sent whose connection the server closes before it has been sent: HTTP/1.1
/// has no surer way to refuse it.
const ATTEMPTS: u32 = 4;

pub(super) fn cases(target: &Target) -> Vec<Case> {
    let mut cases = Vec::new();
    if target.body().is_none() {
        return cases;
    }
    if target.declares(415) {
        others(target, &mut cases);
        encoded(target, &mut cases);
    }
    spellings(target, &mut cases);
    if target.declares(413) {
        cases.push(too_large(target));
    }
    cases
}

fn others(target: &Target, cases: &mut Vec<Case>) {
    for content_type in [
        None,
        Some("text/plain"),
        Some("text/html; charset=utf-8"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/octet-stream"),
        Some("application/xml"),
        Some("text/json"),
        Some("application/jsonx"),
        Some("application/json-seq"),
        Some("json"),
    ] {
        let case = content_type.map_or_else(
            || "a good body without Content-Type".to_owned(),
            |name| format!("a good body as {name}"),
        );
        cases.push(target.case(415, case, move |context, target, case| async move {
            let user = context.user().await?;
            let request = target.good(&context, As::harmless(&user), Extent::Full).await?.with_content_type(content_type);
            let answer = request.call(&context).send().await?;
            match answer.status {
                415 => answer.problem("unsupported_media_type"),
                status => Err(answer.fail(format!("{case}: the document takes application/json alone, so expected 415, got {status}"))),
            }
        }));
    }
}

/// A body that is said to be packed and is not: it cannot be read as it is said to be.
fn encoded(target: &Target, cases: &mut Vec<Case>) {
    for coding in ["gzip", "br", "x-unheard-of"] {
        let case = format!("a good body that is said to be packed with {coding}");
        cases.push(target.case(415, case, move |context, target, case| async move {
            let user = context.user().await?;
            let request = target.good(&context, As::harmless(&user), Extent::Full).await?;
            let answer = request.with(Location::Header, "Content-Encoding", coding).call(&context).send().await?;
            match answer.status {
                // RFC 9110 §15.5.16 has 415 for codings, too; who unpacks gzip finds that this is
                // none.
                400 | 415 => Ok(()),
                status => Err(answer.fail(format!("{case}: expected 415 or 400, got {status}: the body was not read as it was declared"))),
            }
        }));
    }
}

/// Spellings of the media type that mean the same. With an unknown member in the body there is 400
/// for what is in it, and nothing is done.
fn spellings(target: &Target, cases: &mut Vec<Case>) {
    for content_type in
        ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"]
    {
        cases.push(target.case(400, format!("a body as {content_type}, with a fault in it"), move |context, target, case| async move {
            let user = context.user().await?;
            let request = target.good(&context, As::harmless(&user), Extent::Full).await?.with_content_type(Some(content_type));
            let body = members::with_member(request.value(), "", UNDECLARED, json!(1)).unwrap_or_default();
            let answer = request.with_bytes(body.to_string()).call(&context).send().await?;
            if answer.status == 415 {
                return Err(answer
                    .fail(format!("{case}: this is application/json (RFC 9110 §8.3.1), so expected that its fault is found, got 415")));
            }
            verdict::refused(&answer, &case, &[Spot::at_or_around(&format!("/{UNDECLARED}"))], None)
        }));
    }
}

/// How large a body may be stands nowhere, so it grows until it is refused. An unknown member makes
/// it good for nothing at any size.
fn too_large(target: &Target) -> Case {
    target.case(413, "a body that grows until it is too large", move |context, target, _| async move {
        let user = context.user().await?;
        let request = target.good(&context, As::harmless(&user), Extent::Full).await?;
        let mut last: Option<Failure> = None;
        for size in SIZES {
            let body = members::with_member(request.value(), "", UNDECLARED, json!("x".repeat(size))).unwrap_or_default().to_string();
            for attempt in 1..=ATTEMPTS {
                match request.clone().with_bytes(body.clone()).call(&context).send().await {
                    Ok(answer) if answer.status == 413 => return answer.problem("body_too_large"),
                    Ok(answer) if answer.status == 400 => {
                        last = Some(answer.fail(format!(
                            "413 is declared, so expected that a body of {size} bytes is refused for its size, got {}: who sends without end is read without end",
                            answer.status
                        )));
                        break;
                    }
                    Ok(answer) => return Err(answer.fail(format!("a body of {size} bytes: expected 413 or 400, got {}", answer.status))),
                    // The connection may be closed while the body is on its way, and the answer be
                    // lost with it.
                    Err(failure) => {
                        last = Some(failure);
                        tokio::time::sleep(Duration::from_millis(50) * attempt).await;
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| Failure::new("no size was tried")))
    })
}
