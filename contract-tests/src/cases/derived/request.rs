//! Requests as data: first valid, then changed in one place.

use reqwest::Method;
use serde_json::Value;

use crate::{
    document::{Location, Operation},
    suite::{Call, Context},
};

#[derive(Clone, Debug)]
pub(super) struct Request {
    operation: String,
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
    content_type: Option<String>,
    json: Value,
}

impl Request {
    pub(super) fn to(operation: &Operation) -> Self {
        Self {
            operation: operation.id.clone(),
            path: Vec::new(),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            content_type: None,
            json: Value::Null,
        }
    }

    pub(super) fn set(&mut self, location: Location, name: &str, value: &str) {
        self.remove(location, name);
        self.add(location, name, value);
    }

    pub(super) fn add(&mut self, location: Location, name: &str, value: &str) {
        match location {
            Location::Path => self.path.push((name.to_owned(), value.to_owned())),
            Location::Query => self.query.push((name.to_owned(), value.to_owned())),
            Location::Header => self.headers.push((name.to_owned(), value.as_bytes().to_vec())),
        }
    }

    pub(super) fn remove(&mut self, location: Location, name: &str) {
        match location {
            Location::Path => self.path.retain(|(other, _)| other != name),
            Location::Query => self.query.retain(|(other, _)| other != name),
            Location::Header => self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name)),
        }
    }

    pub(super) fn with(mut self, location: Location, name: &str, value: &str) -> Self {
        self.set(location, name, value);
        self
    }

    pub(super) fn authorize(&mut self, token: &str) {
        self.set(Location::Header, "Authorization", &format!("Bearer {token}"));
    }

    pub(super) fn authorization(mut self, values: &[String]) -> Self {
        self.remove(Location::Header, "Authorization");
        for value in values {
            self.add(Location::Header, "Authorization", value);
        }
        self
    }

    pub(super) fn json(&mut self, body: &Value) {
        self.json = body.clone();
        self.body = Some(body.to_string().into_bytes());
        self.content_type = Some("application/json".to_owned());
    }

    pub(super) fn value(&self) -> &Value {
        &self.json
    }

    pub(super) fn with_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Some(bytes.into());
        self
    }

    pub(super) fn with_json(mut self, body: &Value) -> Self {
        self.json(body);
        self
    }

    pub(super) fn with_content_type(mut self, content_type: Option<&str>) -> Self {
        self.content_type = content_type.map(str::to_owned);
        self
    }

    pub(super) fn call(&self, context: &Context) -> Call {
        let mut call = context.call(&self.operation);
        for (name, value) in &self.path {
            call = call.path(name, value);
        }
        self.filled(call)
    }

    pub(super) fn call_as(&self, context: &Context, method: Method) -> Call {
        let mut path = context
            .document()
            .operation(&self.operation)
            .map(|operation| operation.path.clone())
            .unwrap_or_default();
        for (name, value) in &self.path {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        self.filled(context.raw(method, &path))
    }

    fn filled(&self, mut call: Call) -> Call {
        for (name, value) in &self.query {
            call = call.query(name, value);
        }
        for (name, value) in &self.headers {
            call = call.header(name, value);
        }
        match &self.body {
            Some(body) => call.body(self.content_type.as_deref(), body.clone()),
            None => call,
        }
    }
}
