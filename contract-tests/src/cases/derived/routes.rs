//! Unknown paths, undeclared methods, and HEAD.

use std::collections::BTreeSet;

use reqwest::Method;

use super::{
    members::Extent,
    target::{RequestPlan, Target},
};
use crate::{
    document::{Document, Location},
    suite::{Answer, Case, Context, Failure},
};

/// Tested on every path that does not declare them; no standard has the last one.
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "BREW"];

/// Cases of a path belong to its first operation.
pub(super) fn cases(targets: &[Target]) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut paths = BTreeSet::new();
    for target in targets {
        if target.operation().method == Method::GET {
            cases.push(target.case(
                target.success(),
                "HEAD returns the headers of GET without a body",
                head,
            ));
        }
        if paths.insert(target.operation().path.as_str()) {
            methods(target, &mut cases);
            similar_paths(target, &mut cases);
        }
    }
    if let Some(first) = targets.first() {
        for path in ["/nowhere", "//", "/.env", "/%00", "/index.php", "/nowhere/%F0%9F%A6%8A"] {
            cases.push(first.case(
                404,
                format!("the unknown path {path}"),
                move |context, _, case| async move { unknown(&context, path, &case).await },
            ));
        }
    }
    cases
}

/// The path with unknown ids: routing must not depend on what exists.
fn path(context: &Context, target: &Target) -> String {
    let mut path = target.operation().path.clone();
    for parameter in target.parameters(Location::Path) {
        let is_integer = target.document().resolve(&parameter.schema)["type"] == "integer";
        let id = if is_integer { "2147483646".to_owned() } else { context.fresh_id().to_string() };
        path = path.replace(&format!("{{{}}}", parameter.name), &id);
    }
    path
}

fn methods(target: &Target, cases: &mut Vec<Case>) {
    let template = target.operation().path.clone();
    let at_path = |document: &Document| -> BTreeSet<String> {
        document
            .operations()
            .iter()
            .filter(|operation| operation.path == template)
            .map(|operation| operation.method.to_string())
            .collect()
    };
    let has = at_path(target.document());
    for method in METHODS.into_iter().filter(|method| !has.contains(*method)) {
        let has = has.clone();
        cases.push(target.case(
            405,
            format!("{method} on {template}, which does not declare it"),
            move |context, target, case| async move {
                let method = Method::from_bytes(method.as_bytes())
                    .map_err(|error| Failure::new(error.to_string()))?;
                // Sent without a token.
                let answer = context.raw(method, &path(&context, &target)).send().await?;
                if answer.status != 405 {
                    return Err(answer.fail(format!("{case}: expected 405, got {}", answer.status)));
                }
                answer.problem("method_not_allowed")?;
                let allow = answer.header("allow")?;
                let allowed: BTreeSet<&str> = allow.split(',').map(str::trim).collect();
                match has.iter().find(|method| !allowed.contains(method.as_str())) {
                    Some(missing) => Err(answer.fail(format!(
                        "Allow: expected all methods of the path ({has:?}), got {allow:?}, without \
                         {missing}"
                    ))),
                    None => Ok(()),
                }
            },
        ));
    }
}

fn similar_paths(target: &Target, cases: &mut Vec<Case>) {
    type SimilarPath = fn(&str) -> String;
    let similar_paths: [(&str, SimilarPath); 5] = [
        ("with a trailing slash", |path| format!("{path}/")),
        ("with a double leading slash", |path| format!("/{path}")),
        ("with an extra segment", |path| format!("{}/x-not-declared", path.trim_end_matches('/'))),
        ("in upper case", |path| path.to_uppercase()),
        ("with an encoded slash", |path| format!("/%2F{}", &path[1..])),
    ];
    for (what, neighbour) in similar_paths {
        // "/x-not-declared" after a collection is an id; "/" has no upper case.
        let sample = neighbour(&sample(target));
        let is_one = |path: &str| target.document().operations_at(path).next().is_some();
        if is_one(&sample) || sample == target.operation().path || sample == "//" {
            continue;
        }
        cases.push(target.case(
            404,
            format!("the path {} {what} is unknown", target.operation().path),
            move |context, target, case| async move {
                unknown(&context, &neighbour(&path(&context, &target)), &case).await
            },
        ));
    }
}

fn sample(target: &Target) -> String {
    target.operation().path.replace(['{', '}'], "")
}

async fn unknown(context: &Context, path: &str, case: &str) -> Result<(), Failure> {
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let answer = context.raw(method, path).send().await?;
        if answer.status == 400 && answer.request().is_malformed() {
            answer.problem("invalid_request")?;
            continue;
        }
        if answer.status != 404 {
            return Err(answer.fail(format!(
                "{case}: expected 404, as the path is not declared, got {}",
                answer.status
            )));
        }
        answer.problem("route_not_found")?;
    }
    Ok(())
}

/// RFC 9110 §9.3.2: as GET, without the body.
async fn head(context: Context, target: Target, case: String) -> Result<(), Failure> {
    let user = context.user().await?;
    let request =
        target.valid(&context, RequestPlan::without_effect(&user), Extent::Required).await?;
    let get = request.call(&context).expect(target.success()).await?;
    let head = request.call_as(&context, Method::HEAD).send().await?;
    if head.status == 405 {
        // The document does not declare HEAD; RFC 9110 §9.1 requires it.
        return Err(head.fail(format!(
            "{case}: expected {}, got 405: RFC 9110 §9.1 requires HEAD with GET",
            get.status
        )));
    }
    if head.status != get.status {
        return Err(head
            .fail(format!("{case}: expected {}, got {}", get.status, head.status))
            .and(get.exchange()));
    }
    if !head.body.is_empty() {
        return Err(head.fail(format!("{case}: expected no body, got {} bytes", head.body.len())));
    }
    same_header(&get, &head, "content-type", &case)?;
    // The resource may have changed, but it still has a tag.
    if get.headers.contains_key("etag") && !head.headers.contains_key("etag") {
        return Err(head
            .fail(format!("{case}: expected an ETag as with GET, got none"))
            .and(get.exchange()));
    }
    Ok(())
}

fn same_header(get: &Answer, head: &Answer, name: &str, case: &str) -> Result<(), Failure> {
    if get.headers.get(name) == head.headers.get(name) {
        return Ok(());
    }
    Err(head
        .fail(format!(
            "{case}: expected the {name} of GET, {:?}, got {:?}",
            get.headers.get(name),
            head.headers.get(name)
        ))
        .and(get.exchange()))
}
