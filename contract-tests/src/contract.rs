//! `openapi.yaml`, and whether an answer is one that it declares.
//!
//! Made from the document itself, with nothing of the code that is generated from it: what a generator gets wrong is to be noticed here.

mod problem;
mod schema;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{LazyLock, Mutex},
};

use jsonschema::Validator;
use reqwest::header::HeaderMap;
use serde_json::Value;

use self::schema::Schemas;

/// A request and its answer, as far as they are held against the document.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// With the query.
    pub path: &'a str,
    /// The answer's.
    pub status: u16,
    /// The answer's.
    pub headers: &'a HeaderMap,
    /// The answer's.
    pub body: &'a [u8],
}

/// What the document says of one operation.
struct Operation {
    id: String,
    method: String,
    /// `/orders/{order_id}`, by segments.
    path: Vec<String>,
    responses: BTreeMap<u16, Response>,
}

/// One status of an operation.
struct Response {
    headers: Vec<Header>,
    /// By media type; empty if there is no body.
    content: BTreeMap<String, Validator>,
}

struct Header {
    name: String,
    required: bool,
    /// Of integers the digits are read, of everything else the text is taken.
    integer: bool,
    schema: Validator,
}

/// The whole document.
struct Document {
    operations: Vec<Operation>,
    problems: problem::Problems,
}

static DOCUMENT: LazyLock<Document> = LazyLock::new(|| Document::read(merch_contract::OPENAPI_YAML));
static EXERCISED: Mutex<BTreeSet<(String, u16)>> = Mutex::new(BTreeSet::new());

/// Paths of the api that are no operations: pages and the document itself.
const PAGES: [&str; 4] = ["/docs", "/openapi.yaml", "/openapi.json", "/problems"];

/// Headers that are too large: answered before any operation is looked for, so that none declares it (docs/errors.md).
const BEFORE_ANY_OPERATION: u16 = 431;

/// Every way in which an answer is not as the document declares it; empty if it is. Notes the status as exercised.
pub fn check(exchange: &Exchange<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    if let Some(id) = DOCUMENT.check(exchange, &mut faults)
        && faults.is_empty()
        && exchange.status != BEFORE_ANY_OPERATION
    {
        EXERCISED.lock().expect("nobody panics with it").insert((id.to_owned(), exchange.status));
    }
    faults
}

/// Every operation with every status that it declares.
pub fn declared() -> BTreeSet<(String, u16)> {
    DOCUMENT.operations.iter().flat_map(|operation| operation.responses.keys().map(|status| (operation.id.clone(), *status))).collect()
}

/// The operations and statuses that came through [`check`] without a fault so far, in this process.
pub fn exercised() -> BTreeSet<(String, u16)> {
    EXERCISED.lock().expect("nobody panics with it").clone()
}

impl Document {
    fn read(text: &str) -> Self {
        let root: Value = serde_norway::from_str(text).expect("openapi.yaml is YAML");
        let schemas = Schemas::of(&root);
        let mut operations = Vec::new();
        for (path, item) in root["paths"].as_object().expect("`paths` is an object") {
            for method in ["get", "put", "post", "delete", "patch"] {
                let Some(operation) = item.get(method) else { continue };
                let responses = operation["responses"].as_object().expect("an operation has responses").iter();
                operations.push(Operation {
                    id: operation["operationId"].as_str().expect("every operation has an id").to_owned(),
                    method: method.to_uppercase(),
                    path: path.split('/').map(str::to_owned).collect(),
                    responses: responses
                        .map(|(status, response)| {
                            (status.parse().expect("statuses are numbers"), Response::read(follow(&root, response), &root, &schemas))
                        })
                        .collect(),
                });
            }
        }
        Self { operations, problems: problem::Problems::new(&root, &schemas) }
    }

    /// The operation, if it is one.
    fn check(&self, exchange: &Exchange<'_>, faults: &mut Vec<String>) -> Option<&str> {
        let path = exchange.path.split('?').next().unwrap_or_default();
        if let Err(fault) = only(exchange.headers, "x-request-id") {
            faults.push(fault);
        }
        // HEAD is GET without a body (RFC 9110 §9.3.2).
        let method = if exchange.method == "HEAD" { "GET" } else { exchange.method };
        let at_path: Vec<&Operation> = self.operations.iter().filter(|operation| operation.is_at(path)).collect();
        if let Some(operation) = at_path.iter().find(|operation| operation.method == method) {
            match operation.responses.get(&exchange.status) {
                Some(response) => {
                    response.check(exchange, faults);
                    if exchange.status >= 400 && exchange.method != "HEAD" {
                        self.problems.check(exchange, faults);
                    }
                }
                None if exchange.status == BEFORE_ANY_OPERATION => self.problems.check(exchange, faults),
                None => faults.push(format!("{} declares no {}", operation.id, exchange.status)),
            }
            return Some(&operation.id);
        }
        if PAGES.iter().any(|page| path == *page || path.strip_prefix(page).is_some_and(|rest| rest.starts_with('/')))
            && exchange.status < 400
        {
            return None;
        }
        let known = !at_path.is_empty() || PAGES.contains(&path);
        let expected: &[u16] = if known { &[405, BEFORE_ANY_OPERATION] } else { &[404, 405, BEFORE_ANY_OPERATION] };
        if !expected.contains(&exchange.status) {
            faults.push(format!("{} is no operation: expected one of {expected:?}, got {}", exchange.method, exchange.status));
        }
        if exchange.status == 405 {
            let mut wanted: BTreeSet<&str> = at_path.iter().map(|operation| operation.method.as_str()).collect();
            if wanted.contains("GET") || !known || PAGES.contains(&path) {
                wanted.extend(["GET", "HEAD"]);
            }
            match only(exchange.headers, "allow") {
                Ok(allow) if allow.split(',').map(str::trim).collect::<BTreeSet<_>>() == wanted => {}
                Ok(allow) => faults.push(format!("Allow: expected {wanted:?}, got {allow:?}")),
                Err(fault) => faults.push(fault),
            }
        }
        if exchange.method != "HEAD" {
            self.problems.check(exchange, faults);
        }
        None
    }
}

impl Operation {
    fn is_at(&self, path: &str) -> bool {
        let segments: Vec<&str> = path.split('/').collect();
        let matches =
            |(template, segment): (&String, &&str)| if template.starts_with('{') { !segment.is_empty() } else { template == segment };
        segments.len() == self.path.len() && self.path.iter().zip(&segments).all(matches)
    }
}

impl Response {
    fn read(response: &Value, root: &Value, schemas: &Schemas) -> Self {
        let members = |member: &str| response.get(member).and_then(Value::as_object).into_iter().flatten();
        let headers = members("headers").map(|(name, header)| {
            let header = follow(root, header);
            Header {
                name: name.clone(),
                required: header["required"] == true,
                integer: header["schema"]["type"] == "integer",
                schema: schemas.compile(&header["schema"]),
            }
        });
        let content = members("content").map(|(media_type, content)| (media_type.clone(), schemas.compile(&content["schema"])));
        Self { headers: headers.collect(), content: content.collect() }
    }

    fn check(&self, exchange: &Exchange<'_>, faults: &mut Vec<String>) {
        for header in &self.headers {
            header.check(exchange.headers, faults);
        }
        if exchange.method == "HEAD" || self.content.is_empty() {
            if !exchange.body.is_empty() {
                faults.push(format!("expected no body, got {} bytes", exchange.body.len()));
            }
            return;
        }
        let media_type = match only(exchange.headers, "content-type") {
            Ok(value) => value,
            Err(fault) => return faults.push(fault),
        };
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        let Some(schema) = self.content.get(essence) else {
            return faults.push(format!("content-type: expected one of {:?}, got {media_type:?}", self.content.keys()));
        };
        match serde_json::from_slice(exchange.body) {
            Ok(body) => faults.extend(schema::faults(schema, &body)),
            Err(error) => faults.push(format!("the body is no JSON: {error}")),
        }
    }
}

impl Header {
    fn check(&self, headers: &HeaderMap, faults: &mut Vec<String>) {
        if !self.required && !headers.contains_key(&self.name) {
            return;
        }
        match only(headers, &self.name) {
            Ok(text) => {
                let value = match text.parse::<i64>() {
                    Ok(number) if self.integer => Value::from(number),
                    Ok(_) | Err(_) => Value::from(text),
                };
                faults.extend(schema::faults(&self.schema, &value).into_iter().map(|fault| format!("{}: {fault}", self.name)));
            }
            Err(fault) => faults.push(fault),
        }
    }
}

/// What a reference refers to, or the value itself.
fn follow<'d>(root: &'d Value, value: &'d Value) -> &'d Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} is in another document"));
            root.pointer(pointer).unwrap_or_else(|| panic!("{reference} is nowhere"))
        }
        None => value,
    }
}

/// The value of a header that is there once.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| format!("{name}: expected ASCII")),
        (Some(_), Some(_)) => Err(format!("{name}: expected once, is there more than once")),
        (None, _) => Err(format!("{name}: expected, is not there")),
    }
}

#[cfg(test)]
mod tests;
