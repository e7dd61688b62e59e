//! Paths that are none, methods that a path does not have, and HEAD.

use std::collections::BTreeSet;

use reqwest::Method;

use super::{
    members::Extent,
    target::{As, Target},
};
use crate::{
    document::{Document, Location},
    suite::{Answer, Case, Context, Failure},
};

/// Methods that are tried on every path that does not have them; the last one nobody has.
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "BREW"];

/// Cases that belong to a path stand with its first operation.
pub(super) fn cases(targets: &[Target]) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut paths = BTreeSet::new();
    for target in targets {
        if target.operation().method == Method::GET {
            cases.push(target.case(target.success(), "HEAD is GET without a body", head));
        }
        if paths.insert(target.operation().path.as_str()) {
            methods(target, &mut cases);
            neighbours(target, &mut cases);
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

/// The path of an operation with ids in it that nothing has: neither the method nor the path
/// depends on what there is.
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
        cases.push(target.case(405, format!("{method} on {template}, which has it not"), move |context, target, case| async move {
            let method = Method::from_bytes(method.as_bytes()).map_err(|error| Failure::new(error.to_string()))?;
            // Nobody in particular asks: a method that is not there is not there for anybody.
            let answer = context.raw(method, &path(&context, &target)).send().await?;
            if answer.status != 405 {
                return Err(answer.fail(format!("{case}: expected 405, got {}", answer.status)));
            }
            answer.problem("method_not_allowed")?;
            let allow = answer.header("allow")?;
            let allowed: BTreeSet<&str> = allow.split(',').map(str::trim).collect();
            match has.iter().find(|method| !allowed.contains(method.as_str())) {
                Some(missing) => {
                    Err(answer.fail(format!("Allow: expected all methods of the path ({has:?}), got {allow:?} without {missing}")))
                }
                None => Ok(()),
            }
        }));
    }
}

/// Paths that differ from one of the document in what people get wrong.
fn neighbours(target: &Target, cases: &mut Vec<Case>) {
    type Neighbour = fn(&str) -> String;
    let neighbours: [(&str, Neighbour); 5] = [
        ("with a slash behind it", |path| format!("{path}/")),
        ("with two slashes before it", |path| format!("/{path}")),
        ("with one more segment", |path| format!("{}/x-not-declared", path.trim_end_matches('/'))),
        ("in upper case", |path| path.to_uppercase()),
        ("with its first slash encoded", |path| format!("/%2F{}", &path[1..])),
    ];
    for (what, neighbour) in neighbours {
        // "/x-not-declared" behind a collection is an id, and "/" has no upper case.
        let sample = neighbour(&sample(target));
        let is_one = |path: &str| target.document().operations_at(path).next().is_some();
        if is_one(&sample) || sample == target.operation().path || sample == "//" {
            continue;
        }
        cases.push(target.case(
            404,
            format!("the path {} {what}, which is another", target.operation().path),
            move |context, target, case| async move {
                unknown(&context, &neighbour(&path(&context, &target)), &case).await
            },
        ));
    }
}

/// A path of the target, to see what a change makes of it.
fn sample(target: &Target) -> String {
    target.operation().path.replace(['{', '}'], "")
}

/// That a path is unknown, whatever the method.
async fn unknown(context: &Context, path: &str, case: &str) -> Result<(), Failure> {
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let answer = context.raw(method, path).send().await?;
        if answer.status == 400 && answer.request().is_malformed() {
            answer.problem("invalid_request")?;
            continue;
        }
        if answer.status != 404 {
            return Err(answer.fail(format!(
                "{case}: no such path is declared, so expected 404, got {}",
                answer.status
            )));
        }
        answer.problem("route_not_found")?;
    }
    Ok(())
}

/// RFC 9110 §9.3.2: as GET, but for the body.
async fn head(context: Context, target: Target, case: String) -> Result<(), Failure> {
    let user = context.user().await?;
    let request = target.good(&context, As::harmless(&user), Extent::Least).await?;
    let get = request.call(&context).expect(target.success()).await?;
    let head = request.call_as(&context, Method::HEAD).send().await?;
    if head.status == 405 {
        // The document does not say that there is HEAD; RFC 9110 §9.1 says that general-purpose
        // servers have it.
        return Err(head.fail(format!(
            "{case}: expected {}, got 405: RFC 9110 §9.1 wants HEAD wherever there is GET",
            get.status
        )));
    }
    if head.status != get.status {
        return Err(head
            .fail(format!("{case}: expected {}, got {}", get.status, head.status))
            .and(&get));
    }
    if !head.body.is_empty() {
        return Err(head.fail(format!("{case}: expected no body, got {} bytes", head.body.len())));
    }
    same_header(&get, &head, "content-type", &case)?;
    // The thing may have changed in between; that it has a tag has not.
    if get.headers.contains_key("etag") && !head.headers.contains_key("etag") {
        return Err(head.fail(format!("{case}: expected an ETag as with GET, got none")).and(&get));
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
        .and(get))
}
