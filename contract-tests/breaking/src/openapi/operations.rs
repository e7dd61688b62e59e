//! Operations: what is sent to them and what comes back.

use std::collections::HashSet;

use read::{Operation, Side};
use serde_json::Value;

use super::{Comparison, UNKNOWN, Way, is_true, prose, read};

/// The keywords by which a parameter or a header is written on the wire.
const SERIALISATION: [&str; 4] = ["style", "explode", "allowReserved", "content"];

impl<'d> Comparison<'d> {
    pub(super) fn operations(&mut self) {
        let (old, new) = (self.old.operations(), self.new.operations());
        let errors = self.errors();
        for (route, was) in &old {
            let place = format!("{} {}", route.1.to_uppercase(), was.path);
            match new.get(route) {
                Some(is) => self.operation(&place, *was, *is, &errors),
                None => self.findings.breaking(&place, "the operation is gone", ""),
            }
        }
        for (route, is) in &new {
            if !old.contains_key(route) {
                self.findings.compatible(
                    format!("{} {}", route.1.to_uppercase(), is.path),
                    "the operation is new",
                );
            }
        }
    }

    fn operation(
        &mut self,
        place: &str,
        was: Operation<'d>,
        is: Operation<'d>,
        errors: &HashSet<(String, &'d str)>,
    ) {
        for (old, new) in read::names(was.path).zip(read::names(is.path)) {
            if old != new {
                self.findings.breaking(
                    place,
                    format!("the path's parameter `{old}` is called `{new}`"),
                    "generated methods take it by its name",
                );
            }
        }
        if was.value.get("operationId") != is.value.get("operationId") {
            let id = |operation: Operation<'d>| read::text(operation.value, "operationId");
            let what = format!("`operationId` was \"{}\" and is \"{}\"", id(was), id(is));
            self.findings.breaking(place, what, "generated methods are called by it");
        }
        self.tags(place, was.value, is.value);
        self.parameters(place, was, is);
        self.request_body(place, was.value.get("requestBody"), is.value.get("requestBody"));
        self.responses(place, was.value, is.value, errors);
        self.security(place, was.value, is.value);
        let servers = |operation: Operation<'d>| {
            operation.value.get("servers").or_else(|| operation.item.get("servers"))
        };
        if servers(was).is_some() || servers(is).is_some() {
            let (old, new) = (self.old.root.get("servers"), self.new.root.get("servers"));
            self.servers(place, servers(was).or(old), servers(is).or(new));
        }
        self.deprecation(place, was.value, is.value);
        let handled = [
            "operationId",
            "tags",
            "parameters",
            "requestBody",
            "responses",
            "security",
            "servers",
            "deprecated",
        ];
        self.rest(place, was.value, is.value, &handled);
        let methods = [
            "get",
            "put",
            "post",
            "delete",
            "options",
            "head",
            "patch",
            "trace",
            "parameters",
            "servers",
        ];
        self.rest(&format!("path {}", was.path), was.item, is.item, &methods);
    }

    /// Generators make one class of each tag; an operation stands in that of its first.
    fn tags(&mut self, place: &str, was: &Value, is: &Value) {
        let tags = |operation: &Value| -> Vec<String> {
            operation["tags"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        let (old, new) = (tags(was), tags(is));
        if old.first() != new.first() || old.iter().any(|tag| !new.contains(tag)) {
            let what = format!("the tags were [{}] and are [{}]", old.join(", "), new.join(", "));
            self.findings.breaking(
                place,
                what,
                "generated code has a class or a trait for each tag",
            );
        } else if old.len() != new.len() {
            self.findings.compatible(place, "it has a tag more");
        }
    }

    fn deprecation(&mut self, place: &str, was: &Value, is: &Value) {
        match (is_true(was, "deprecated"), is_true(is, "deprecated")) {
            (false, true) => self.findings.compatible(place, "it is deprecated"),
            (true, false) => self.findings.compatible(place, "it is not deprecated any more"),
            (true, true) | (false, false) => {}
        }
    }

    fn parameters(&mut self, place: &str, was: Operation<'d>, is: Operation<'d>) {
        let (old, new) = (self.old.parameters(was), self.new.parameters(is));
        let name = |parameter: &Value| {
            format!("{} parameter `{}`", read::text(parameter, "in"), read::text(parameter, "name"))
        };
        for (slot, was) in &old {
            match new.get(slot) {
                None => self.findings.breaking(
                    place,
                    format!("the {} is gone", name(was)),
                    "requests that have it are refused, or it does nothing",
                ),
                Some(is) => {
                    let place = format!("{place}, {}", name(was));
                    self.requiredness(&place, was, is, Way::Request);
                    self.deprecation(&place, was, is);
                    self.serialised(&place, was, is, Way::Request);
                    self.rest(
                        &place,
                        was,
                        is,
                        &[
                            "name",
                            "in",
                            "required",
                            "deprecated",
                            "schema",
                            "style",
                            "explode",
                            "allowReserved",
                            "content",
                        ],
                    );
                }
            }
        }
        for (slot, is) in &new {
            if old.contains_key(slot) {
            } else if is_true(is, "required") {
                self.findings.breaking(
                    place,
                    format!("the required {} is new", name(is)),
                    "requests do not have it yet",
                );
            } else {
                self.findings.compatible(place, format!("the optional {} is new", name(is)));
            }
        }
    }

    fn requiredness(&mut self, place: &str, was: &Value, is: &Value, way: Way) {
        match (is_true(was, "required"), is_true(is, "required"), way) {
            (false, true, Way::Request) => {
                self.findings.breaking(place, "it has become required", "requests may lack it")
            }
            (true, false, Way::Response) => {
                self.findings.breaking(place, "it is not required any more", "clients count on it")
            }
            (true, false, Way::Request) => {
                self.findings.compatible(place, "it is not required any more")
            }
            (false, true, Way::Response) => self.findings.compatible(place, "it is always there"),
            (true, true, _) | (false, false, _) => {}
        }
    }

    /// What a parameter and a header have in common: a schema and how its value is written.
    fn serialised(&mut self, place: &str, was: &'d Value, is: &'d Value, way: Way) {
        for keyword in SERIALISATION {
            if read::written(was, keyword) != read::written(is, keyword) {
                self.findings.breaking(
                    place,
                    format!("`{keyword}` is another"),
                    "it is written in another way",
                );
            }
        }
        self.optional_schema(place, was.get("schema"), is.get("schema"), way);
    }

    fn request_body(&mut self, place: &str, was: Option<&'d Value>, is: Option<&'d Value>) {
        let body =
            |side: Side<'d>, value: Option<&'d Value>| value.map(|value| side.follow(value).0);
        match (body(self.old, was), body(self.new, is)) {
            (None, None) => {}
            (Some(_), None) => self.findings.breaking(
                place,
                "the request's body is gone",
                "what was sent there is refused, or does nothing",
            ),
            (None, Some(is)) if is_true(is, "required") => {
                self.findings.breaking(
                    place,
                    "a request's body is required now",
                    "requests do not have it yet",
                );
            }
            (None, Some(_)) => self.findings.compatible(place, "an optional request's body is new"),
            (Some(was), Some(is)) => {
                let place = format!("{place}, request's body");
                self.requiredness(&place, was, is, Way::Request);
                self.content(&place, was, is, Way::Request);
                self.rest(&place, was, is, &["required", "content"]);
            }
        }
    }

    fn content(&mut self, place: &str, was: &'d Value, is: &'d Value, way: Way) {
        let fold = |name: &str| name.to_ascii_lowercase().replace(' ', "");
        let (old, new) =
            (self.old.entries(was, "content", fold), self.new.entries(is, "content", fold));
        for (key, (name, was)) in &old {
            match new.get(key) {
                None => self.findings.breaking(
                    place,
                    format!("the media type `{name}` is gone"),
                    "it is what clients send or read",
                ),
                Some((_, is)) => {
                    let place = format!("{place} as {name}");
                    self.optional_schema(&place, was.get("schema"), is.get("schema"), way);
                    self.rest(&place, was, is, &["schema"]);
                }
            }
        }
        for (key, (name, _)) in &new {
            if old.contains_key(key) {
                continue;
            }
            match way {
                Way::Request => self
                    .findings
                    .compatible(place, format!("the media type `{name}` is taken, too")),
                Way::Response => self.findings.breaking(
                    place,
                    format!("the media type `{name}` is new"),
                    "clients may be answered what they cannot read",
                ),
            }
        }
    }

    fn responses(
        &mut self,
        place: &str,
        was: &'d Value,
        is: &'d Value,
        errors: &HashSet<(String, &'d str)>,
    ) {
        let same = str::to_ascii_uppercase;
        let (old, new) =
            (self.old.entries(was, "responses", same), self.new.entries(is, "responses", same));
        for (key, (status, was)) in &old {
            let place = format!("{place} {status}");
            match new.get(key) {
                None => self.findings.breaking(
                    &place,
                    "the status is gone",
                    "clients may wait for it, and generated code has it as a case",
                ),
                Some((_, is)) => self.response(&place, was, is),
            }
        }
        for (key, (status, is)) in &new {
            if old.contains_key(key) {
                continue;
            }
            let place = format!("{place} {status}");
            if !(key.starts_with('4') || key.starts_with('5')) {
                self.findings.breaking(
                    &place,
                    "the status is new, and is no error",
                    "clients know the successes that were declared, and no other",
                );
            } else if self
                .bodies(self.new, is)
                .is_some_and(|bodies| bodies.iter().all(|body| errors.contains(body)))
            {
                self.findings
                    .compatible(&place, "the status is new; its body is that of every error");
            } else {
                self.findings.breaking(
                    &place,
                    "the status is new, and its body is not that of the other errors",
                    "clients read every error in one way",
                );
            }
        }
    }

    fn response(&mut self, place: &str, was: &'d Value, is: &'d Value) {
        let fold = str::to_ascii_lowercase;
        let (old, new) =
            (self.old.entries(was, "headers", fold), self.new.entries(is, "headers", fold));
        for (key, (name, was)) in &old {
            match new.get(key) {
                None => self.findings.breaking(
                    place,
                    format!("the header `{name}` is gone"),
                    "clients read it",
                ),
                Some((_, is)) => {
                    let place = format!("{place}, header `{name}`");
                    self.requiredness(&place, was, is, Way::Response);
                    self.deprecation(&place, was, is);
                    self.serialised(&place, was, is, Way::Response);
                    self.rest(
                        &place,
                        was,
                        is,
                        &[
                            "required",
                            "deprecated",
                            "schema",
                            "style",
                            "explode",
                            "allowReserved",
                            "content",
                        ],
                    );
                }
            }
        }
        for (key, (name, _)) in &new {
            if !old.contains_key(key) {
                self.findings.compatible(place, format!("the header `{name}` is new"));
            }
        }
        match (was.get("content").is_some(), is.get("content").is_some()) {
            (false, true) => self.findings.breaking(
                place,
                "it has a body now",
                "generated code returns nothing there",
            ),
            _ => self.content(place, was, is, Way::Response),
        }
        self.links(place, was, is);
        prose::compare_response(place, &self.codes, was, is, &mut self.findings);
        self.rest(place, was, is, &["headers", "content", "links"]);
    }

    fn links(&mut self, place: &str, was: &'d Value, is: &'d Value) {
        let (old, new) = (
            self.old.entries(was, "links", str::to_owned),
            self.new.entries(is, "links", str::to_owned),
        );
        for (key, (name, was)) in &old {
            match new.get(key) {
                None => self.findings.breaking(
                    place,
                    format!("the link `{name}` is gone"),
                    "programs follow it",
                ),
                Some((_, is)) => self.rest(&format!("{place}, link `{name}`"), was, is, &[]),
            }
        }
        for (key, (name, _)) in &new {
            if !old.contains_key(key) {
                self.findings.compatible(place, format!("the link `{name}` is new"));
            }
        }
    }

    fn optional_schema(
        &mut self,
        place: &str,
        was: Option<&'d Value>,
        is: Option<&'d Value>,
        way: Way,
    ) {
        match (was, is) {
            (Some(was), Some(is)) => self.schema(place, was, is, way),
            (None, None) => {}
            _ => self.findings.breaking(place, "its schema has come or gone", UNKNOWN),
        }
    }

    /// Each body that an error of the old document has: the media type and the name of the schema.
    fn errors(&self) -> HashSet<(String, &'d str)> {
        let mut errors = HashSet::new();
        for operation in self.old.operations().values() {
            for (key, (_, response)) in
                self.old.entries(operation.value, "responses", str::to_ascii_uppercase)
            {
                if key.starts_with('4') || key.starts_with('5') {
                    errors.extend(self.bodies(self.old, response).into_iter().flatten());
                }
            }
        }
        errors
    }

    /// The media types of a response with the names of their schemas; nothing if one has no name,
    /// or if there is no body.
    fn bodies(&self, side: Side<'d>, response: &'d Value) -> Option<Vec<(String, &'d str)>> {
        let content = side.entries(response, "content", str::to_ascii_lowercase);
        let named = |(media_type, (_, value)): (String, (&'d str, &'d Value))| {
            let (_, name) = side.follow(value.get("schema")?);
            Some((media_type, name?))
        };
        Some(content).filter(|content| !content.is_empty())?.into_iter().map(named).collect()
    }
}
