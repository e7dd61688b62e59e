//! References within the document: following them, and what is reached by them.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use openapiv3::ReferenceOr;
use serde_json::{Map, Value};

use super::Reader;
use crate::{
    error::Pointer,
    model::{ComponentKind, Location, Operation, Scalar, Schema, Shape},
};

impl Reader<'_> {
    /// An item and where it stands, whether it is written out at `at` or referred to.
    pub(super) fn follow<T: Clone>(
        &mut self,
        item: &ReferenceOr<T>,
        section: &str,
        shared: &IndexMap<String, ReferenceOr<T>>,
        at: &Pointer,
    ) -> Option<(T, Pointer)> {
        match item {
            ReferenceOr::Item(item) => Some((item.clone(), at.clone())),
            ReferenceOr::Reference { reference } => {
                let name = self.component_name(reference, section, at)?;
                match shared.get(&name) {
                    Some(ReferenceOr::Item(item)) => {
                        Some((item.clone(), Pointer::of_reference(reference)))
                    }
                    Some(ReferenceOr::Reference { .. }) => {
                        self.refuse(
                            &Pointer::of_reference(reference),
                            "a reference to a reference is not supported",
                        );
                        None
                    }
                    None => {
                        self.refuse(
                            &at.at("$ref"),
                            format!("refers to `{reference}`, which does not exist"),
                        );
                        None
                    }
                }
            }
        }
    }

    /// The name in a reference to a section of `components`.
    pub(super) fn component_name(
        &mut self,
        reference: &str,
        section: &str,
        at: &Pointer,
    ) -> Option<String> {
        let name = reference
            .strip_prefix(&format!("#/components/{section}/"))
            .filter(|name| !name.contains(['/', '~', '%']));
        if name.is_none() {
            self.refuse(
                &at.at("$ref"),
                format!("refers to `{reference}`; only #/components/{section}/… is supported here"),
            );
        }
        name.map(str::to_owned)
    }

    /// Refuses components that no operation reaches: poem-openapi does not emit them, so that they
    /// would be lost without a word; and schemas that contain themselves.
    pub(super) fn reachability(&mut self) {
        let reached = reach(self.raw, [&self.raw["paths"]]);
        for section in ["schemas", "responses", "parameters", "requestBodies", "headers"] {
            for name in self.raw["components"][section].as_object().into_iter().flat_map(Map::keys)
            {
                let at = Pointer::root().at("components").at(section).at(name);
                if !reached.contains(&at.to_string()) {
                    self.refuse(&at, "no operation refers to this, directly or not");
                }
            }
        }
        for name in self.raw["components"]["schemas"].as_object().into_iter().flat_map(Map::keys) {
            let at = Pointer::root().at("components").at("schemas").at(name);
            let below: Vec<&Value> = self.raw.pointer(&at.to_string()).into_iter().collect();
            if reach(self.raw, below).contains(&at.to_string()) {
                self.refuse(
                    &at,
                    "refers to itself, directly or not; recursive types are not supported",
                );
            }
        }
    }

    /// The raw schemas that requests reach. They are held to more than those of responses.
    pub(super) fn request_schemas(&mut self, operations: &[Operation]) -> Map<String, Value> {
        let mut roots: Vec<&Value> =
            self.parameters.iter().map(|parameter| &parameter.raw).collect();
        roots.extend(
            operations.iter().filter_map(|operation| operation.body.as_ref()).map(|body| &body.raw),
        );
        let reached = reach(self.raw, roots);
        let schemas_at = Pointer::root().at("components").at("schemas");
        let mut schemas = Map::new();
        let mut refusals = Vec::new();
        for (name, raw) in self.raw["components"]["schemas"].as_object().into_iter().flatten() {
            let at = schemas_at.at(name);
            if !reached.contains(&at.to_string()) {
                continue;
            }
            schemas.insert(name.clone(), raw.clone());
            let Some(component) =
                self.model.iter().find(|component| component.named && component.rust_name == *name)
            else {
                continue;
            };
            refusals.extend(
                unchecked_format(component.notes.format.as_deref())
                    .map(|reason| (at.at("format"), reason)),
            );
            if let ComponentKind::Object { fields, closed } = &component.kind {
                if !closed {
                    refusals.push((
                        at.clone(),
                        "is part of a request and has to be closed by `additionalProperties: false`: a member that it does not name would be dropped without a word".to_owned(),
                    ));
                }
                for field in fields {
                    let at = at.at("properties").at(&field.name);
                    if field.schema.nullable && !field.required {
                        refusals.push((
                            at.clone(),
                            "is part of a request and both optional and nullable; which of the two it was could not be told".to_owned(),
                        ));
                    }
                    refusals.extend(request_only(&field.schema, &at));
                }
            }
        }
        for parameter in &self.parameters {
            let reason = unchecked_format(parameter.schema.notes.format.as_deref());
            refusals.extend(reason.map(|reason| (parameter.schema_at.at("format"), reason)));
        }
        for (at, reason) in refusals {
            self.refuse(&at, reason);
        }
        schemas
    }

    /// Refuses arrays of times: serde would need a type of their own to write them.
    pub(super) fn arrays_of_times(&mut self) {
        let is_time = |schema: &Schema| match &schema.shape {
            Shape::Scalar(scalar) => *scalar == Scalar::DateTime,
            Shape::Component(name) => self.model.iter().any(|component| {
                component.rust_name == *name
                    && matches!(component.kind, ComponentKind::Scalar(Scalar::DateTime))
            }),
            Shape::Array(_) => false,
        };
        let schemas_at = Pointer::root().at("components").at("schemas");
        let mut found = Vec::new();
        for component in &self.model {
            let ComponentKind::Object { fields, closed: _ } = &component.kind else { continue };
            for field in fields {
                let mut at = schemas_at.at(&component.rust_name).at("properties").at(&field.name);
                let mut schema = &field.schema;
                while let Shape::Array(items) = &schema.shape {
                    (schema, at) = (items, at.at("items"));
                    if is_time(schema) {
                        found.push(at.clone());
                    }
                }
            }
        }
        for at in found {
            self.refuse(&at, "an array of times is not supported");
        }
    }

    /// Whether a parameter's schema is a scalar, a component that is one, or an enum.
    pub(super) fn check_parameter_shape(
        &mut self,
        schema: &Schema,
        location: Location,
        at: &Pointer,
    ) {
        let scalar = match &schema.shape {
            Shape::Scalar(_) => true,
            Shape::Array(_) => false,
            Shape::Component(name) => {
                self.model.iter().find(|component| component.rust_name == *name).is_some_and(
                    |component| !matches!(component.kind, ComponentKind::Object { .. }),
                )
            }
        };
        if !scalar {
            self.refuse(at, "arrays and objects are not supported in parameters");
        }
        if schema.nullable {
            self.refuse(&at.at("nullable"), "a parameter cannot be null");
        }
        if location == Location::Header && matches!(schema.shape, Shape::Scalar(Scalar::Bool)) {
            self.refuse(at, "a header that is a truth value is not supported");
        }
    }
}

fn request_only(schema: &Schema, at: &Pointer) -> Vec<(Pointer, String)> {
    let mut refusals = Vec::new();
    refusals.extend(
        unchecked_format(schema.notes.format.as_deref()).map(|reason| (at.at("format"), reason)),
    );
    if schema.notes.default.is_some() {
        refusals.push((
            at.at("default"),
            "a default of a body's member is not supported; only parameters have them".to_owned(),
        ));
    }
    if let Shape::Array(items) = &schema.shape {
        refusals.extend(request_only(items, &at.at("items")));
    }
    refusals
}

/// Formats that the runtime does not check, so that a request could break the document unseen.
fn unchecked_format(format: Option<&str>) -> Option<String> {
    match format {
        None | Some("email" | "password" | "uri") => None,
        Some(other) => Some(format!(
            "has the format `{other}`, which is not checked in requests and therefore not supported there"
        )),
    }
}

/// The pointers of all that is referred to from some values, and from there on.
fn reach<'v>(root: &'v Value, from: impl IntoIterator<Item = &'v Value>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&Value> = from.into_iter().collect();
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                if let Some(pointer) = members
                    .get("$ref")
                    .and_then(Value::as_str)
                    .and_then(|reference| reference.strip_prefix('#'))
                    && reached.insert(pointer.to_owned())
                {
                    open.extend(root.pointer(pointer));
                }
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    reached
}
