//! Resolves references, and checks what they reach.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use openapiv3::ReferenceOr;
use serde_json::{Map, Value};

use super::Lowering;
use crate::{
    error::Pointer,
    model::{ComponentKind, Location, Operation, Scalar, Schema, Shape},
};

impl Lowering<'_> {
    /// Returns an item and its pointer, inline or resolved.
    pub(super) fn resolve<T: Clone>(
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
                        self.report(
                            &Pointer::of_reference(reference),
                            "a reference to a reference is not supported",
                        );
                        None
                    }
                    None => {
                        self.report(&at.at("$ref"), format!("`{reference}` does not exist"));
                        None
                    }
                }
            }
        }
    }

    /// Returns the name in a reference to a section of `components`.
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
            self.report(
                &at.at("$ref"),
                format!("`{reference}` is not supported here; only #/components/{section}/… is"),
            );
        }
        name.map(str::to_owned)
    }

    /// Reports recursive schemas, and components that no operation reaches: poem-openapi would not
    /// emit them.
    pub(super) fn check_reachability(&mut self) {
        let reached = reachable(self.raw, [&self.raw["paths"]]);
        for section in ["schemas", "responses", "parameters", "requestBodies", "headers"] {
            for name in self.raw["components"][section].as_object().into_iter().flat_map(Map::keys)
            {
                let at = Pointer::root().at("components").at(section).at(name);
                if !reached.contains(&at.to_string()) {
                    self.report(&at, "no operation uses this component; remove it");
                }
            }
        }
        for name in self.raw["components"]["schemas"].as_object().into_iter().flat_map(Map::keys) {
            let at = Pointer::root().at("components").at("schemas").at(name);
            let below: Vec<&Value> = self.raw.pointer(&at.to_string()).into_iter().collect();
            if reachable(self.raw, below).contains(&at.to_string()) {
                self.report(&at, "recursive schemas are not supported");
            }
        }
    }

    /// Returns the raw schemas that requests reach. Reports what only responses may contain.
    pub(super) fn request_schemas(&mut self, operations: &[Operation]) -> Map<String, Value> {
        let mut roots: Vec<&Value> =
            self.parameters.iter().map(|parameter| &parameter.raw).collect();
        roots.extend(
            operations.iter().filter_map(|operation| operation.body.as_ref()).map(|body| &body.raw),
        );
        let reached = reachable(self.raw, roots);
        let schemas_at = Pointer::root().at("components").at("schemas");
        let mut schemas = Map::new();
        let mut diagnostics = Vec::new();
        for (name, raw) in self.raw["components"]["schemas"].as_object().into_iter().flatten() {
            let at = schemas_at.at(name);
            if !reached.contains(&at.to_string()) {
                continue;
            }
            schemas.insert(name.clone(), raw.clone());
            let Some(component) =
                self.types.iter().find(|component| component.named && component.rust_name == *name)
            else {
                continue;
            };
            diagnostics.extend(
                unvalidated_format(component.keywords.format.as_deref())
                    .map(|reason| (at.at("format"), reason)),
            );
            if let ComponentKind::Object { fields, closed } = &component.kind {
                if !closed {
                    diagnostics.push((
                        at.clone(),
                        "expected `additionalProperties: false` in a schema of requests: serde \
                         would drop other members"
                            .to_owned(),
                    ));
                }
                for field in fields {
                    let at = at.at("properties").at(&field.name);
                    if field.schema.nullable && !field.required {
                        diagnostics.push((
                            at.clone(),
                            "a property of requests cannot be both optional and nullable: `Option` \
                             does not distinguish them".to_owned(),
                        ));
                    }
                    diagnostics.extend(request_diagnostics(&field.schema, &at));
                }
            }
        }
        for parameter in &self.parameters {
            let reason = unvalidated_format(parameter.schema.keywords.format.as_deref());
            diagnostics.extend(reason.map(|reason| (parameter.schema_at.at("format"), reason)));
        }
        for (at, reason) in diagnostics {
            self.report(&at, reason);
        }
        schemas
    }

    /// Reports arrays of date-times, which serde cannot write in RFC 3339 without a wrapper type.
    pub(super) fn check_arrays_of_times(&mut self) {
        let schemas_at = Pointer::root().at("components").at("schemas");
        let mut arrays = Vec::new();
        for component in &self.types {
            let ComponentKind::Object { fields, closed: _ } = &component.kind else { continue };
            for field in fields {
                let mut at = schemas_at.at(&component.rust_name).at("properties").at(&field.name);
                let mut schema = &field.schema;
                while let Shape::Array(items) = &schema.shape {
                    (schema, at) = (items, at.at("items"));
                    if schema.is_date_time(&self.types) {
                        arrays.push(at.clone());
                    }
                }
            }
        }
        for at in arrays {
            self.report(&at, "arrays of `date-time` are not supported");
        }
    }

    /// Reports a parameter that is not a scalar or an enum.
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
                self.types.iter().find(|component| component.rust_name == *name).is_some_and(
                    |component| !matches!(component.kind, ComponentKind::Object { .. }),
                )
            }
        };
        if !scalar {
            self.report(at, "arrays and objects are not supported in parameters");
        }
        if schema.nullable {
            self.report(&at.at("nullable"), "a parameter cannot be nullable");
        }
        if location == Location::Header && matches!(schema.shape, Shape::Scalar(Scalar::Bool)) {
            self.report(at, "booleans are not supported in headers");
        }
    }
}

fn request_diagnostics(schema: &Schema, at: &Pointer) -> Vec<(Pointer, String)> {
    let mut diagnostics = Vec::new();
    diagnostics.extend(
        unvalidated_format(schema.keywords.format.as_deref())
            .map(|reason| (at.at("format"), reason)),
    );
    if schema.keywords.default.is_some() {
        diagnostics
            .push((at.at("default"), "defaults are supported for parameters only".to_owned()));
    }
    if let Shape::Array(items) = &schema.shape {
        diagnostics.extend(request_diagnostics(items, &at.at("items")));
    }
    diagnostics
}

/// Returns the diagnostic for a format that the runtime does not validate.
fn unvalidated_format(format: Option<&str>) -> Option<String> {
    match format {
        None | Some("email" | "password" | "uri") => None,
        Some(other) => Some(format!("the format `{other}` is not supported in requests")),
    }
}

/// Returns the pointers of all references that some values reach.
fn reachable<'v>(root: &'v Value, from: impl IntoIterator<Item = &'v Value>) -> BTreeSet<String> {
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
