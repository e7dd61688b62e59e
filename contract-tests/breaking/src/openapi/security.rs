//! Who may call, and where: security and servers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Comparison, read::text};

/// One way to be let in: the schemes that it takes, with their scopes.
type Alternative = BTreeMap<String, BTreeSet<String>>;

impl<'d> Comparison<'d> {
    pub(super) fn security(&mut self, place: &str, was: &'d Value, is: &'d Value) {
        let effective = |root: &Value, operation: &Value| {
            alternatives(operation.get("security").or_else(|| root.get("security")))
        };
        let (old, new) = (effective(self.old.root, was), effective(self.new.root, is));
        for alternative in &old {
            if !new.iter().any(|other| asks_no_more(other, alternative)) {
                self.findings.breaking(
                    place,
                    format!("{} is not enough any more", show(alternative)),
                    "requests are refused",
                );
            }
            for scheme in alternative.keys() {
                self.scheme(scheme);
            }
        }
        for alternative in &new {
            if old.contains(alternative) {
            } else if alternative.is_empty()
                || old.iter().any(|other| asks_no_more(alternative, other))
            {
                let what = format!("{} is enough now", show(alternative));
                self.findings.breaking(
                    place,
                    what,
                    "what was protected is so no more, and users rely on that",
                );
            } else {
                self.findings.compatible(place, format!("{} is enough, too", show(alternative)));
            }
        }
    }

    fn scheme(&mut self, name: &str) {
        let (old, new) = (
            &self.old.root["components"]["securitySchemes"][name],
            &self.new.root["components"]["securitySchemes"][name],
        );
        let place = format!("security scheme {name}");
        if new.is_null() {
            self.findings.breaking(place, "it is gone", "clients authenticate by it");
            return;
        }
        // RFC 9110: the names of schemes have no case.
        if !text(old, "scheme").eq_ignore_ascii_case(text(new, "scheme")) {
            self.findings.breaking(&place, "`scheme` is another", "clients authenticate by it");
        }
        self.rest(&place, old, new, &["scheme"]);
    }

    pub(super) fn servers(&mut self, place: &str, was: Option<&Value>, is: Option<&Value>) {
        let root = [json!({ "url": "/" })];
        // No server means one at `/`.
        let list = |servers: Option<&Value>| match servers.and_then(Value::as_array) {
            Some(servers) if !servers.is_empty() => servers.clone(),
            Some(_) | None => root.to_vec(),
        };
        let (old, new) = (list(was), list(is));
        for was in &old {
            let url = text(was, "url");
            match new.iter().find(|is| text(is, "url") == url) {
                None => self.findings.breaking(
                    place,
                    format!("the server `{url}` is gone"),
                    "generated clients call it",
                ),
                Some(is) => self.rest(&format!("server {url}"), was, is, &["url"]),
            }
        }
        for is in &new {
            let url = text(is, "url");
            if !old.iter().any(|was| text(was, "url") == url) {
                self.findings.compatible(place, format!("the server `{url}` is new"));
            }
        }
        let first =
            |servers: &[Value]| servers.first().map(|server| text(server, "url").to_owned());
        if first(&old) != first(&new) {
            self.findings.breaking(
                place,
                "the first server is another",
                "generated clients call the first one if they are not told",
            );
        }
    }
}

/// No list, an empty list and an empty alternative all let everybody in.
fn alternatives(security: Option<&Value>) -> Vec<Alternative> {
    let scopes = |scopes: &Value| {
        scopes
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let alternative = |value: &Value| {
        value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(scheme, value)| (scheme.clone(), scopes(value)))
            .collect::<Alternative>()
    };
    let list: Vec<Alternative> =
        security.and_then(Value::as_array).into_iter().flatten().map(alternative).collect();
    if list.is_empty() { vec![Alternative::new()] } else { list }
}

/// Whether whoever has what `other` asks for has what `one` asks for.
fn asks_no_more(one: &Alternative, other: &Alternative) -> bool {
    one.iter().all(|(scheme, scopes)| other.get(scheme).is_some_and(|has| scopes.is_subset(has)))
}

fn show(alternative: &Alternative) -> String {
    if alternative.is_empty() {
        return "nothing".to_owned();
    }
    let scheme = |(scheme, scopes): (&String, &BTreeSet<String>)| {
        if scopes.is_empty() {
            format!("`{scheme}`")
        } else {
            format!(
                "`{scheme}` with {}",
                scopes.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
            )
        }
    };
    alternative.iter().map(scheme).collect::<Vec<_>>().join(" and ")
}
