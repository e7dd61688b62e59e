//! The greeting: version and links.

use std::collections::BTreeSet;

use serde_json::Value;

use super::steps::{equal, follow};
use crate::{
    document::Document,
    suite::{Answer, Case, Context, Failure},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("greet", 200, "the version equals the document's", version),
        Case::new("greet", 200, "each link works", links),
        Case::new("greet", 200, "the served contract equals the document", contract),
        Case::new("greet", 200, "invalid request ids are replaced", request_ids),
    ]
}

async fn version(context: Context) -> Result<(), Failure> {
    let greeting = context.call("greet").expect(200).await?;
    equal(
        &greeting,
        "`version`",
        &greeting.json()["version"],
        &context.document().root()["info"]["version"],
    )
}

async fn links(context: Context) -> Result<(), Failure> {
    let greeting = context.call("greet").expect(200).await?;
    let links = greeting.json()["links"]
        .as_object()
        .ok_or_else(|| greeting.fail("`links` must be an object"))?;
    // Other members need not be links.
    let declared = declared_links(context.document())
        .ok_or_else(|| Failure::new("the document does not say which links a greeting has"))?;
    for (name, link) in links.iter().filter(|(name, _)| declared.contains(name.as_str())) {
        let link = link
            .as_str()
            .ok_or_else(|| greeting.fail(format!("the link `{name}` must be a string")))?;
        let page = follow(&context, &greeting, link, None).await?;
        ensure!(
            page.status == 200,
            &page,
            "expected 200 from the link `{name}` ({link:?}), got {}",
            page.status
        );
        ensure!(
            !page.body.is_empty(),
            &page,
            "expected content at the link `{name}` ({link:?}), got none"
        );
    }
    Ok(())
}

fn declared_links(document: &Document) -> Option<BTreeSet<&str>> {
    let greeting = document.operation("greet")?.responses.get(&200)?.content.values().next()?;
    let greeting = document.resolve(&greeting.schema);
    let links = document.resolve(greeting.get("properties")?.get("links")?);
    Some(links.get("properties")?.as_object()?.keys().map(String::as_str).collect())
}

async fn contract(context: Context) -> Result<(), Failure> {
    let greeting = context.call("greet").expect(200).await?;
    let links = &greeting.json()["links"];
    let json =
        follow(&context, &greeting, links["openapi_json"].as_str().unwrap_or_default(), None)
            .await?;
    let parsed: Value = serde_json::from_slice(&json.body)
        .map_err(|error| json.fail(format!("`openapi_json` must lead to JSON: {error}")))?;
    same_document(&context, &json, &parsed)?;

    let yaml =
        follow(&context, &greeting, links["openapi_yaml"].as_str().unwrap_or_default(), None)
            .await?;
    let parsed = Document::read(&String::from_utf8_lossy(&yaml.body)).map_err(|error| {
        yaml.fail(format!("`openapi_yaml` must lead to an OpenAPI document: {error}"))
    })?;
    same_document(&context, &yaml, parsed.root())
}

fn same_document(context: &Context, served: &Answer, document: &Value) -> Result<(), Failure> {
    let wanted = context.document().root();
    equal(served, "`info.version`", &document["info"]["version"], &wanted["info"]["version"])?;
    equal(served, "the operations", &operations(document), &operations(wanted))
}

fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths
        .flat_map(|(path, item)| {
            item.as_object().into_iter().flatten().filter_map(move |(method, operation)| {
                Some(format!("{method} {path} {}", operation["operationId"].as_str()?))
            })
        })
        .collect()
}

/// Valid ids are echoed, which every case checks; others must not be.
async fn request_ids(context: Context) -> Result<(), Failure> {
    for id in ["a b", "a,b", "<id>", "100%", "", &"a".repeat(129)] {
        let greeting = context.call("greet").header("X-Request-Id", id).expect(200).await?;
        let made = greeting.header("x-request-id")?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
        ensure!(
            (1..=128).contains(&made.len()) && made.bytes().all(allowed),
            &greeting,
            "expected a new, valid request id, got {made:?}"
        );
    }
    Ok(())
}
