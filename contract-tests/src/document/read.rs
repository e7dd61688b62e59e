//! Parses a document; errors name the position.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    Content, Document, DocumentError, Header, Location, Operation, Parameter, RequestBody,
    Response, Schemas, UndeclaredMembers,
};

const MAX_CHAIN: usize = 16;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

pub(super) fn document(text: &str, members: UndeclaredMembers) -> Result<Document, DocumentError> {
    let yaml: serde_norway::Value = serde_norway::from_str(text)
        .map_err(|error| whole(format!("expected YAML or JSON, but {error}")))?;
    let root = json(yaml).map_err(whole)?;
    let top = Node { root: &root, pointer: String::new(), value: &root };
    match root.get("openapi").and_then(Value::as_str) {
        Some(version) if version.starts_with("3.0.") => {}
        Some(version) => {
            return Err(top.fault(&format!(
                "expected an OpenAPI 3.0 document, got one of version {version}"
            )));
        }
        None => {
            return Err(top.fault("expected an OpenAPI 3.0 document: it has no `openapi: 3.0.x`"));
        }
    }
    let schemas = Schemas::of(&root, members);
    let everywhere =
        root.get("security").and_then(Value::as_array).is_some_and(|needed| !needed.is_empty());
    let mut operations = Vec::new();
    for (path, item) in top.require("paths")?.members()? {
        if !path.starts_with('/') {
            return Err(item.fault("expected a path that begins with /"));
        }
        for (method, operation) in item.members()? {
            if METHODS.contains(&method) {
                operations
                    .push(self::operation(path, method, &item, &operation, everywhere, &schemas)?);
            }
        }
    }
    if operations.is_empty() {
        return Err(DocumentError {
            pointer: "/paths".to_owned(),
            fault: "expected at least one operation".to_owned(),
        });
    }
    let mut ids = BTreeSet::new();
    if let Some(twice) = operations.iter().find(|operation| !ids.insert(operation.id.as_str())) {
        let pointer = format!(
            "/paths/{}/{}/operationId",
            escape(&twice.path),
            twice.method.as_str().to_lowercase()
        );
        return Err(DocumentError {
            pointer,
            fault: format!("expected a unique operationId, got {:?} again", twice.id),
        });
    }
    let described = root.pointer("/components/schemas/Problem");
    let codes = described
        .and_then(|problem| problem["description"].as_str())
        .map(codes)
        .unwrap_or_default();
    let problem = match described {
        Some(_) => {
            Some(schemas.compile(&json!({ "$ref": "#/components/schemas/Problem" })).map_err(
                |fault| DocumentError { pointer: "/components/schemas/Problem".to_owned(), fault },
            )?)
        }
        None => None,
    };
    Ok(Document { members, schemas, operations, codes, problem, root })
}

fn operation(
    path: &str,
    method: &str,
    item: &Node<'_>,
    operation: &Node<'_>,
    everywhere: bool,
    schemas: &Schemas,
) -> Result<Operation, DocumentError> {
    let mut parameters: Vec<Parameter> = Vec::new();
    for list in [item.get("parameters")?, operation.get("parameters")?].into_iter().flatten() {
        for declared in list.items()? {
            let Some(parameter) = parameter(&declared)? else { continue };
            // Parameters of the operation override those of the path item.
            parameters.retain(|other| {
                (other.location, &other.name) != (parameter.location, &parameter.name)
            });
            parameters.push(parameter);
        }
    }
    for name in
        path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
    {
        if !parameters
            .iter()
            .any(|parameter| parameter.location == Location::Path && parameter.name == name)
        {
            return Err(
                operation.fault(&format!("expected a declared path parameter {name:?}, got none"))
            );
        }
    }
    let mut responses = BTreeMap::new();
    for (status, response) in operation.require("responses")?.members()? {
        let status = match status.parse() {
            Ok(status @ 100..=599) => status,
            Ok(_) | Err(_) => {
                return Err(response.fault(
                    "expected a status code such as 200; ranges and `default` are not supported",
                ));
            }
        };
        responses.insert(status, self::response(&response, schemas)?);
    }
    if responses.is_empty() {
        return Err(operation.require("responses")?.fault("expected at least one response"));
    }
    let tag = operation
        .get("tags")?
        .and_then(|tags| tags.value.get(0)?.as_str().map(str::to_owned))
        .unwrap_or_default();
    let secured = match operation.get("security")? {
        // An empty requirement makes the token optional.
        Some(needed) => {
            let needed = needed.items()?;
            !needed.is_empty()
                && !needed.iter().any(|one| one.value.as_object().is_some_and(Map::is_empty))
        }
        None => everywhere,
    };
    Ok(Operation {
        id: operation.require("operationId")?.text()?.to_owned(),
        // Every name in METHODS is a method.
        method: Method::from_bytes(method.to_uppercase().as_bytes())
            .map_err(|error| operation.fault(&error.to_string()))?,
        path: path.to_owned(),
        tag,
        secured,
        parameters,
        request_body: operation.get("requestBody")?.map(|body| request_body(&body)).transpose()?,
        responses,
    })
}

/// `None` for cookies, which this program never sends.
fn parameter(declared: &Node<'_>) -> Result<Option<Parameter>, DocumentError> {
    let place = declared.require("in")?;
    let location = match place.text()? {
        "path" => Location::Path,
        "query" => Location::Query,
        "header" => Location::Header,
        "cookie" => return Ok(None),
        other => {
            return Err(
                place.fault(&format!("expected path, query, header or cookie, got {other:?}"))
            );
        }
    };
    let schema = declared.require_raw("schema")?;
    let example = match declared.value.get("example") {
        Some(example) => Some(example.clone()),
        None => match declared.get("examples")? {
            Some(examples) => {
                examples.members()?.into_iter().find_map(|(_, one)| one.value.get("value").cloned())
            }
            None => None,
        },
    };
    Ok(Some(Parameter {
        name: declared.require("name")?.text()?.to_owned(),
        location,
        required: declared.value.get("required") == Some(&Value::Bool(true)),
        example: example.or_else(|| self::example(declared.root, schema, 0)),
        schema: schema.clone(),
    }))
}

fn request_body(declared: &Node<'_>) -> Result<RequestBody, DocumentError> {
    let content = declared.require("content")?;
    let Some((media_type, media)) = content.members()?.into_iter().next() else {
        return Err(content.fault("expected at least one media type"));
    };
    let schema = media.require_raw("schema")?;
    let mut examples = Vec::new();
    if let Some(named) = media.get("examples")? {
        examples.extend(
            named
                .members()?
                .into_iter()
                .filter_map(|(name, one)| Some((name.to_owned(), one.value.get("value")?.clone()))),
        );
    }
    examples
        .extend(media.value.get("example").map(|example| ("example".to_owned(), example.clone())));
    examples
        .extend(example(declared.root, schema, 0).map(|example| ("schema".to_owned(), example)));
    Ok(RequestBody {
        media_type: media_type.to_owned(),
        required: declared.value.get("required") == Some(&Value::Bool(true)),
        schema: schema.clone(),
        examples,
    })
}

fn response(declared: &Node<'_>, schemas: &Schemas) -> Result<Response, DocumentError> {
    let description = declared.require("description")?.text()?.to_owned();
    let mut headers = Vec::new();
    for (name, header) in
        declared.get("headers")?.map_or_else(|| Ok(Vec::new()), |headers| headers.members())?
    {
        let schema = header.require("schema")?;
        headers.push(Header {
            name: name.to_owned(),
            required: header.value.get("required") == Some(&Value::Bool(true)),
            integer: schema.value.get("type") == Some(&json!("integer")),
            validator: schemas.compile(schema.value).map_err(|fault| schema.fault(&fault))?,
        });
    }
    let mut content = BTreeMap::new();
    for (media_type, media) in
        declared.get("content")?.map_or_else(|| Ok(Vec::new()), |content| content.members())?
    {
        let schema = media.require_raw("schema")?;
        let validator = schemas.compile(schema).map_err(|fault| media.fault(&fault))?;
        content
            .insert(media_type.to_ascii_lowercase(), Content { schema: schema.clone(), validator });
    }
    Ok(Response { codes: codes(&description), description, headers, content })
}

/// The words after "`code` is": `` `a`, `b` or `c` ``.
fn codes(description: &str) -> BTreeSet<String> {
    let words: Vec<&str> = description.split_whitespace().collect();
    let text = words.join(" ");
    let mut codes = BTreeSet::new();
    for part in text.split("`code` is ").skip(1) {
        let mut rest = part.strip_prefix("one of ").unwrap_or(part);
        while let Some((word, after)) = rest.strip_prefix('`').and_then(|rest| rest.split_once('`'))
        {
            codes.insert(word.to_owned());
            let Some(next) =
                [", or ", ", ", " or ", " and "].iter().find_map(|joint| after.strip_prefix(joint))
            else {
                break;
            };
            rest = next;
        }
    }
    codes
}

/// An example of a schema: its own, or one composed from its members.
pub(super) fn example(root: &Value, schema: &Value, depth: usize) -> Option<Value> {
    if depth > MAX_CHAIN {
        return None;
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return example(root, root.pointer(reference.strip_prefix('#')?)?, depth + 1);
    }
    if let Some(example) = schema.get("example") {
        return Some(example.clone());
    }
    if let Some(items) = schema.get("items") {
        return Some(Value::Array(vec![example(root, items, depth + 1)?]));
    }
    let members = schema.get("properties")?.as_object()?;
    let members: Map<String, Value> = members
        .iter()
        .filter_map(|(name, member)| Some((name.clone(), example(root, member, depth + 1)?)))
        .collect();
    let required = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    // An example must have all required members.
    required.into_iter().all(|name| members.contains_key(name)).then_some(Value::Object(members))
}

/// A node of the document.
#[derive(Clone)]
struct Node<'d> {
    root: &'d Value,
    pointer: String,
    value: &'d Value,
}

impl<'d> Node<'d> {
    fn fault(&self, fault: &str) -> DocumentError {
        DocumentError { pointer: self.pointer.clone(), fault: fault.to_owned() }
    }

    fn follow(mut self) -> Result<Self, DocumentError> {
        for _ in 0..MAX_CHAIN {
            let Some(reference) = self.value.get("$ref").and_then(Value::as_str) else {
                return Ok(self);
            };
            let Some(pointer) = reference.strip_prefix('#') else {
                return Err(self.fault(&format!(
                    "expected a reference into this document, got {reference:?}: bundle the \
                     document"
                )));
            };
            let Some(value) = self.root.pointer(pointer) else {
                return Err(self.fault(&format!("{reference:?} refers to nothing")));
            };
            self = Self { root: self.root, pointer: pointer.to_owned(), value };
        }
        Err(self.fault("expected a chain of references with an end, got a cycle"))
    }

    fn child(&self, name: &str, value: &'d Value) -> Self {
        Self { root: self.root, pointer: format!("{}/{}", self.pointer, escape(name)), value }
    }

    fn get(&self, name: &str) -> Result<Option<Self>, DocumentError> {
        self.value.get(name).map(|value| self.child(name, value).follow()).transpose()
    }

    fn require(&self, name: &str) -> Result<Self, DocumentError> {
        self.get(name)?.ok_or_else(|| self.fault(&format!("expected a member `{name}`, got none")))
    }

    /// A member, unresolved; its references are checked.
    fn require_raw(&self, name: &str) -> Result<&'d Value, DocumentError> {
        self.require(name)?;
        Ok(&self.value[name])
    }

    fn text(&self) -> Result<&'d str, DocumentError> {
        self.value
            .as_str()
            .ok_or_else(|| self.fault(&format!("expected a string, got {}", kind(self.value))))
    }

    fn members(&self) -> Result<Vec<(&'d str, Self)>, DocumentError> {
        let members = self
            .value
            .as_object()
            .ok_or_else(|| self.fault(&format!("expected an object, got {}", kind(self.value))))?;
        members
            .iter()
            .map(|(name, value)| Ok((name.as_str(), self.child(name, value).follow()?)))
            .collect()
    }

    fn items(&self) -> Result<Vec<Self>, DocumentError> {
        let items = self
            .value
            .as_array()
            .ok_or_else(|| self.fault(&format!("expected a list, got {}", kind(self.value))))?;
        items
            .iter()
            .enumerate()
            .map(|(index, value)| self.child(&index.to_string(), value).follow())
            .collect()
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// RFC 6901.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn whole(fault: String) -> DocumentError {
    DocumentError { pointer: String::new(), fault }
}

/// YAML to JSON. Unquoted status codes become strings.
fn json(yaml: serde_norway::Value) -> Result<Value, String> {
    use serde_norway::Value as Yaml;
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => Value::Bool(value),
        Yaml::Number(number) => serde_json::to_value(number)
            .map_err(|error| format!("expected JSON numbers, but {error}"))?,
        Yaml::String(text) => Value::String(text),
        Yaml::Sequence(items) => {
            Value::Array(items.into_iter().map(json).collect::<Result<_, _>>()?)
        }
        Yaml::Mapping(members) => {
            let mut object = Map::new();
            for (name, value) in members {
                let name = match name {
                    Yaml::String(name) => name,
                    Yaml::Number(number) => number.to_string(),
                    Yaml::Bool(value) => value.to_string(),
                    Yaml::Null | Yaml::Sequence(_) | Yaml::Mapping(_) | Yaml::Tagged(_) => {
                        return Err("expected strings as member names".to_owned());
                    }
                };
                object.insert(name, json(value)?);
            }
            Value::Object(object)
        }
        Yaml::Tagged(tagged) => json(tagged.value)?,
    })
}
