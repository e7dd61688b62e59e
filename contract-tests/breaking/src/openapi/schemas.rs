//! Schemas, by the way that their values travel.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Comparison, UNKNOWN, Way, bounds, is_true, read::text};

/// The keywords that rules look at; all others are compared as they stand.
const HANDLED: [&str; 27] = [
    "type",
    "format",
    "nullable",
    "enum",
    "default",
    "deprecated",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "uniqueItems",
    "items",
    "properties",
    "required",
    "additionalProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "$ref",
];

/// What an object's `additionalProperties` allow.
#[derive(Clone, Copy)]
enum Others<'d> {
    Any,
    None,
    Of(&'d Value),
}

impl<'d> Comparison<'d> {
    /// Compares two schemas whose values travel one way, and all that they are made of.
    pub(super) fn schema(&mut self, place: &str, was: &'d Value, is: &'d Value, way: Way) {
        let ((was, old_name), (is, new_name)) = (self.old.follow(was), self.new.follow(is));
        self.reached.extend(old_name);
        if let Some(old_name) = old_name
            && Some(old_name) != new_name
            && (text(was, "type") == "object"
                || was.get("properties").is_some()
                || was.get("enum").is_some())
        {
            let what = new_name.map_or_else(
                || format!("the schema `{old_name}` has no name there any more"),
                |name| format!("the schema `{old_name}` is `{name}` there"),
            );
            self.findings.breaking(place, what, "generated code has a type of this name there");
        }
        if !self.seen.insert((std::ptr::from_ref(was).addr(), std::ptr::from_ref(is).addr(), way)) {
            return;
        }
        let named =
            old_name.filter(|name| Some(*name) == new_name).map(|name| format!("schema {name}"));
        let place = named.as_deref().unwrap_or(place);
        self.kind(place, was, is, way);
        self.values(place, was, is, way);
        bounds::compare(place, was, is, way, &mut self.findings);
        self.object(place, was, is, way);
        match (was.get("items"), is.get("items")) {
            (Some(was), Some(is)) => self.schema(&format!("{place}[]"), was, is, way),
            (None, None) => {}
            _ => self.findings.breaking(place, "`items` has come or gone", UNKNOWN),
        }
        for keyword in ["allOf", "anyOf", "oneOf", "not"] {
            self.composed(place, keyword, was.get(keyword), is.get(keyword), way);
        }
        self.deprecated_schema(place, was, is);
        self.rest(place, was, is, &HANDLED);
    }

    fn kind(&mut self, place: &str, was: &Value, is: &Value, way: Way) {
        for keyword in ["type", "format"] {
            let (old, new) = (was.get(keyword), is.get(keyword));
            if old != new {
                let show = |value: Option<&Value>| {
                    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
                };
                let what = format!("`{keyword}` was {} and is {}", show(old), show(new));
                self.findings.breaking(place, what, "generated code has another type for it");
            }
        }
        match (is_true(was, "nullable"), is_true(is, "nullable"), way) {
            (true, false, Way::Request) => {
                self.findings.breaking(place, "null is not taken any more", "requests may have it")
            }
            (false, true, Way::Response) => {
                self.findings.breaking(place, "it may be null now", "clients do not expect it")
            }
            (true, false, Way::Response) => {
                self.findings.compatible(place, "it is never null any more")
            }
            (false, true, Way::Request) => self.findings.compatible(place, "null is taken, too"),
            (true, true, _) | (false, false, _) => {}
        }
        if was.get("default") != is.get("default") {
            self.findings.breaking(
                place,
                "`default` is another",
                "a request without it means something else",
            );
        }
    }

    fn values(&mut self, place: &str, was: &Value, is: &Value, way: Way) {
        let values = |schema: &Value| schema.get("enum").and_then(Value::as_array).cloned();
        match (values(was), values(is)) {
            (None, None) => {}
            (Some(_), None) => {
                self.findings.breaking(place, "`enum` is gone", "generated code has a type for it")
            }
            (None, Some(_)) => self.findings.breaking(
                place,
                "`enum` is new",
                "generated code has another type for it, and requests may have other values",
            ),
            (Some(old), Some(new)) => {
                for value in old.iter().filter(|value| !new.contains(value)) {
                    let why = "requests may have it, and generated code has a constant for it";
                    self.findings.breaking(place, format!("the value {value} is gone"), why);
                }
                for value in new.iter().filter(|value| !old.contains(value)) {
                    let what = format!("the value {value} is new");
                    match way {
                        Way::Request => self.findings.compatible(place, what),
                        Way::Response => self.findings.breaking(
                            place,
                            what,
                            "generated clients refuse an answer with a value that they do not know",
                        ),
                    }
                }
            }
        }
    }

    fn object(&mut self, place: &str, was: &'d Value, is: &'d Value, way: Way) {
        let required = |schema: &'d Value| -> BTreeSet<&'d str> {
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
        };
        let (must, must_now) = (required(was), required(is));
        let members = |schema: &'d Value| schema.get("properties").and_then(Value::as_object);
        let (old, new) = (members(was), members(is));
        for (name, was) in old.into_iter().flatten() {
            match new.and_then(|new| new.get(name)) {
                None => {
                    let why = match way {
                        Way::Request => "requests may have it",
                        Way::Response => "clients read it",
                    };
                    self.findings.breaking(place, format!("the member `{name}` is gone"), why);
                }
                Some(is) => {
                    let place = format!("{place}.{name}");
                    match (must.contains(&name.as_str()), must_now.contains(&name.as_str()), way) {
                        (false, true, Way::Request) => self.findings.breaking(
                            &place,
                            "it has become required",
                            "requests may lack it",
                        ),
                        (true, false, Way::Response) => self.findings.breaking(
                            &place,
                            "it is not required any more",
                            "clients count on it",
                        ),
                        (true, false, Way::Request) => {
                            self.findings.compatible(&place, "it is not required any more")
                        }
                        (false, true, Way::Response) => {
                            self.findings.compatible(&place, "it is always there")
                        }
                        (true, true, _) | (false, false, _) => {}
                    }
                    self.schema(&place, was, is, way);
                }
            }
        }
        for name in new
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .filter(|name| old.is_none_or(|old| !old.contains_key(*name)))
        {
            let what = format!("the member `{name}` is new");
            match way {
                Way::Request if must_now.contains(name) => self.findings.breaking(
                    place,
                    format!("the required member `{name}` is new"),
                    "requests do not have it yet",
                ),
                Way::Response if matches!(others(was), Others::None) => self.findings.breaking(
                    place,
                    what,
                    "the schema was closed, and clients refuse it",
                ),
                Way::Request | Way::Response => self.findings.compatible(place, what),
            }
        }
        // Names that are required and described nowhere.
        let known = |name: &&&str| {
            old.is_some_and(|old| old.contains_key(**name))
                || new.is_some_and(|new| new.contains_key(**name))
        };
        for name in must.symmetric_difference(&must_now).filter(|name| !known(name)) {
            self.findings.breaking(
                place,
                format!("the name `{name}` has come to `required` or gone from it, and no member is called so"),
                UNKNOWN,
            );
        }
        self.others(place, was, is, way);
    }

    fn others(&mut self, place: &str, was: &'d Value, is: &'d Value, way: Way) {
        match (others(was), others(is), way) {
            (Others::Any, Others::Any, _) | (Others::None, Others::None, _) => {}
            (Others::Any, Others::None, Way::Request) => {
                self.findings.breaking(place, "it is closed now", "requests may have other members")
            }
            (Others::None, Others::Any, Way::Response) => {
                self.findings.breaking(place, "it is open now", "clients refuse other members")
            }
            (Others::Any, Others::None, Way::Response) => {
                self.findings.compatible(place, "it is closed now")
            }
            (Others::None, Others::Any, Way::Request) => {
                self.findings.compatible(place, "it is open now")
            }
            (Others::Of(was), Others::Of(is), way) => {
                self.schema(&format!("{place}.*"), was, is, way)
            }
            (Others::Of(_), _, _) | (_, Others::Of(_), _) => {
                self.findings.breaking(place, "`additionalProperties` is another", UNKNOWN)
            }
        }
    }

    /// Only as many alternatives as before, each at its place, are compared; anything else is a
    /// break.
    fn composed(
        &mut self,
        place: &str,
        keyword: &str,
        was: Option<&'d Value>,
        is: Option<&'d Value>,
        way: Way,
    ) {
        match (was, is) {
            (None, None) => {}
            (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
                for (index, (was, is)) in old.iter().zip(new).enumerate() {
                    self.schema(&format!("{place}.{keyword}[{index}]"), was, is, way);
                }
            }
            // `not` turns the direction round.
            (Some(was), Some(is)) if keyword == "not" && was == is => {}
            _ => self.findings.breaking(place, format!("`{keyword}` is another"), UNKNOWN),
        }
    }

    fn deprecated_schema(&mut self, place: &str, was: &Value, is: &Value) {
        if is_true(was, "deprecated") != is_true(is, "deprecated") {
            self.findings.compatible(
                place,
                if is_true(is, "deprecated") {
                    "it is deprecated"
                } else {
                    "it is not deprecated any more"
                },
            );
        }
    }
}

fn others(schema: &Value) -> Others<'_> {
    match schema.get("additionalProperties") {
        None | Some(Value::Bool(true)) => Others::Any,
        Some(Value::Bool(false)) => Others::None,
        Some(Value::Object(schema)) if schema.is_empty() => Others::Any,
        Some(schema) => Others::Of(schema),
    }
}
