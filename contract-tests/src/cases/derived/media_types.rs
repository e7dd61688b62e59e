//! Undeclared media types and oversized bodies.

use std::time::Duration;

use serde_json::json;

use super::{
    UNDECLARED,
    expectations::{self, FaultLocation},
    members::{self, Extent},
    target::{RequestPlan, Target},
};
use crate::{
    document::Location,
    suite::{Case, Failure},
};

/// Body sizes, in bytes, until the server refuses one.
const SIZES: [usize; 3] = [128 << 10, 1 << 20, 16 << 20];

/// Attempts if the server closes the connection while the body is being sent, as HTTP/1.1 servers
/// do.
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
            || "a valid body without Content-Type".to_owned(),
            |name| format!("a valid body as {name}"),
        );
        cases.push(target.case(415, case, move |context, target, case| async move {
            let user = context.user().await?;
            let request = target
                .valid(&context, RequestPlan::without_effect(&user), Extent::Full)
                .await?
                .with_content_type(content_type);
            let answer = request.call(&context).send().await?;
            match answer.status {
                415 => answer.problem("unsupported_media_type"),
                status => Err(answer.fail(format!(
                    "{case}: expected 415, as the document declares only application/json, got \
                     {status}"
                ))),
            }
        }));
    }
}

/// A body whose `Content-Encoding` is wrong.
fn encoded(target: &Target, cases: &mut Vec<Case>) {
    for coding in ["gzip", "br", "x-unheard-of"] {
        let case = format!("a valid body with a wrong Content-Encoding: {coding}");
        cases.push(target.case(415, case, move |context, target, case| async move {
            let user = context.user().await?;
            let request =
                target.valid(&context, RequestPlan::without_effect(&user), Extent::Full).await?;
            let answer = request
                .with(Location::Header, "Content-Encoding", coding)
                .call(&context)
                .send()
                .await?;
            match answer.status {
                // RFC 9110 §15.5.16 uses 415 for codings, too; a server that decodes gzip finds a
                // malformed body.
                400 | 415 => Ok(()),
                status => Err(answer.fail(format!(
                    "{case}: expected 415 or 400, got {status}: the server ignored Content-Encoding"
                ))),
            }
        }));
    }
}

/// Equivalent spellings of the media type. An undeclared member makes the server answer 400 and
/// change nothing.
fn spellings(target: &Target, cases: &mut Vec<Case>) {
    for content_type in
        ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"]
    {
        cases.push(target.case(
            400,
            format!("an invalid body as {content_type}"),
            move |context, target, case| async move {
                let user = context.user().await?;
                let request = target
                    .valid(&context, RequestPlan::without_effect(&user), Extent::Full)
                    .await?
                    .with_content_type(Some(content_type));
                let body = members::with_member(request.value(), "", UNDECLARED, json!(1))
                    .unwrap_or_default();
                let answer = request.with_bytes(body.to_string()).call(&context).send().await?;
                if answer.status == 415 {
                    return Err(answer.fail(format!(
                        "{case}: this is application/json (RFC 9110 §8.3.1), so expected 400, got \
                         415"
                    )));
                }
                expectations::refused(
                    &answer,
                    &case,
                    &[FaultLocation::member_or_parent(&format!("/{UNDECLARED}"))],
                    None,
                )
            },
        ));
    }
}

/// The document declares no maximum, so the body grows until it is refused. An undeclared member
/// makes each size invalid.
fn too_large(target: &Target) -> Case {
    target.case(
        413,
        "a growing body is refused once it is too large",
        move |context, target, _| async move {
            let user = context.user().await?;
            let request =
                target.valid(&context, RequestPlan::without_effect(&user), Extent::Full).await?;
            let mut last: Option<Failure> = None;
            for size in SIZES {
                let body =
                    members::with_member(request.value(), "", UNDECLARED, json!("x".repeat(size)))
                        .unwrap_or_default()
                        .to_string();
                for attempt in 1..=ATTEMPTS {
                    match request.clone().with_bytes(body.clone()).call(&context).send().await {
                        Ok(answer) if answer.status == 413 => {
                            return answer.problem("body_too_large");
                        }
                        Ok(answer) if answer.status == 400 => {
                            last = Some(answer.fail(format!(
                            "expected 413 for a body of {size} bytes, as the document declares it, \
                             got {}",
                            answer.status
                        )));
                            break;
                        }
                        Ok(answer) => {
                            return Err(answer.fail(format!(
                                "a body of {size} bytes: expected 413 or 400, got {}",
                                answer.status
                            )));
                        }
                        // The server may close the connection during the upload and lose the response.
                        Err(failure) => {
                            last = Some(failure);
                            tokio::time::sleep(Duration::from_millis(50) * attempt).await;
                        }
                    }
                }
            }
            Err(last.unwrap_or_else(|| Failure::new("no size was tried")))
        },
    )
}
