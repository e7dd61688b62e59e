//! Parameters.

use openapiv3::{
    HeaderStyle, Parameter as Typed, ParameterData, ParameterSchemaOrContent, PathStyle,
    QueryStyle, ReferenceOr,
};

use super::{Reader, text};
use crate::{
    error::Pointer,
    model::{ComponentKind, Location, Parameter, Scalar, Schema, Shape},
    names,
};

/// Headers that OpenAPI 3.0 says to ignore as parameters: content negotiation and security describe
/// them.
const IGNORED_HEADERS: [&str; 3] = ["accept", "content-type", "authorization"];

impl Reader<'_> {
    pub(super) fn path_variables(&mut self, indices: &[usize], path: &str, at: &Pointer) {
        for segment in path.split('/').filter(|segment| segment.starts_with('{')) {
            let name = segment.trim_matches(['{', '}']);
            if !indices.iter().any(|index| {
                self.parameters[*index].location == Location::Path
                    && self.parameters[*index].name == name
            }) {
                self.refuse(
                    &at.at("parameters"),
                    format!("the path's variable `{name}` has no parameter"),
                );
            }
        }
    }

    /// Arguments must not have the same name.
    pub(super) fn arguments(&mut self, indices: &[usize], scheme: Option<&str>, at: &Pointer) {
        let mut arguments: Vec<String> = vec!["body".to_owned()];
        arguments.extend(scheme.and_then(names::snake));
        for index in indices {
            let argument = self.parameters[*index].argument.clone();
            if arguments.contains(&argument) {
                self.refuse(
                    &at.at("parameters"),
                    format!("two arguments would be named `{argument}`"),
                );
            }
            arguments.push(argument);
        }
    }

    pub(super) fn parameters_of(
        &mut self,
        parameters: &[ReferenceOr<Typed>],
        path: &str,
        at: &Pointer,
    ) -> Vec<usize> {
        let shared = self.components.parameters.clone();
        let mut indices = Vec::new();
        for (index, parameter) in parameters.iter().enumerate() {
            let at = at.at("parameters").at(index);
            let Some((typed, at)) = self.follow(parameter, "parameters", &shared, &at) else {
                continue;
            };
            let key = at.to_string();
            if let Some(index) = self.shared.get(&key) {
                indices.push(*index);
                continue;
            }
            let Some(parameter) = self.parameter(&typed, parameter, path, &at) else { continue };
            self.shared.insert(key, self.parameters.len());
            indices.push(self.parameters.len());
            self.parameters.push(parameter);
        }
        for index in &indices {
            let parameter = &self.parameters[*index];
            if parameter.location == Location::Path
                && !path.split('/').any(|segment| segment == format!("{{{}}}", parameter.name))
            {
                let reason = format!("the path has no variable `{}`", parameter.name);
                self.refuse(&at.at("parameters"), reason);
            }
        }
        indices
    }

    fn parameter(
        &mut self,
        typed: &Typed,
        written: &ReferenceOr<Typed>,
        path: &str,
        at: &Pointer,
    ) -> Option<Parameter> {
        let (data, location) = match typed {
            Typed::Query { parameter_data, allow_reserved, style, allow_empty_value } => {
                self.refuse_if(
                    *allow_reserved,
                    at,
                    "allowReserved",
                    "`allowReserved` is not supported",
                );
                self.refuse_if(
                    *style != QueryStyle::Form,
                    at,
                    "style",
                    "only the default style is supported",
                );
                self.refuse_if(
                    allow_empty_value == &Some(true),
                    at,
                    "allowEmptyValue",
                    "`allowEmptyValue` is not supported",
                );
                (parameter_data, Location::Query)
            }
            Typed::Header { parameter_data, style: HeaderStyle::Simple } => {
                (parameter_data, Location::Header)
            }
            Typed::Path { parameter_data, style } => {
                self.refuse_if(
                    *style != PathStyle::Simple,
                    at,
                    "style",
                    "only the default style is supported",
                );
                (parameter_data, Location::Path)
            }
            Typed::Cookie { .. } => {
                self.refuse(&at.at("in"), "parameters in cookies are not supported");
                return None;
            }
        };
        // Examples: see `gaps`. `explode` means nothing for scalars.
        let ParameterData {
            name,
            description,
            required,
            deprecated,
            format,
            example: _,
            examples: _,
            explode,
            extensions: _,
        } = data;
        self.refuse_if(
            explode.is_some(),
            at,
            "explode",
            "`explode` means nothing for the parameters that are supported; leave it out",
        );
        if location == Location::Header
            && IGNORED_HEADERS.contains(&name.to_ascii_lowercase().as_str())
        {
            self.refuse(&at.at("name"), "OpenAPI ignores this header as a parameter; content types and security schemes describe it");
        }
        let valid_name = match location {
            Location::Header => is_header_name(name),
            Location::Path | Location::Query => true,
        };
        let Some(argument) = names::snake(name).filter(|_| valid_name) else {
            self.refuse(&at.at("name"), format!("`{name}` makes no name of an argument"));
            return None;
        };
        // A parameter of `components` has its name from there; one that is written out, from where
        // it stands.
        let rust_name = match written {
            ReferenceOr::Reference { .. } => {
                names::pascal(at.to_string().rsplit('/').next().unwrap_or_default())
            }
            ReferenceOr::Item(_) => names::pascal(&format!("{} {name}", self.owner(path, at))),
        };
        let Some(rust_name) = rust_name else {
            self.refuse(at, "this name makes no name of a Rust type");
            return None;
        };
        // In a module of their own, `parameters`.
        self.claim(&format!("parameters::{rust_name}"), at);
        let ParameterSchemaOrContent::Schema(schema) = format else {
            self.refuse(
                &at.at("content"),
                "a parameter that is a document of its own is not supported; give it a `schema`",
            );
            return None;
        };
        let schema_at = at.at("schema");
        let schema = self.schema(schema, &rust_name, &schema_at)?;
        self.check_parameter_shape(&schema, location, &schema_at);
        self.default_fits(&schema, *required, &schema_at);
        let description = text(description.as_deref());
        self.doc_text(description.as_deref(), &at.at("description"));
        Some(Parameter {
            raw: self.raw_at(&schema_at),
            schema_at,
            name: name.clone(),
            rust_name,
            argument,
            location,
            required: *required,
            deprecated: deprecated.unwrap_or_default(),
            description,
            schema,
        })
    }

    /// Where a parameter that is written out stands: its operation's id, or the path without its
    /// variables.
    fn owner(&self, path: &str, at: &Pointer) -> String {
        let pointer = at.to_string();
        let operation = pointer
            .rsplit_once("/parameters/")
            .map(|(operation, _)| format!("{operation}/operationId"));
        let id =
            operation.and_then(|operation| self.raw.pointer(&operation)).and_then(|id| id.as_str());
        id.map_or_else(
            || {
                path.split('/')
                    .filter(|segment| !segment.starts_with('{'))
                    .collect::<Vec<_>>()
                    .join(" ")
            },
            str::to_owned,
        )
    }

    /// A default is given to the operation as it is, so that it has to be what the schema allows.
    fn default_fits(&mut self, schema: &Schema, required: bool, at: &Pointer) {
        let Some(default) = &schema.notes.default else { return };
        let at = at.at("default");
        if required {
            self.refuse(&at, "a parameter that has to be there needs no default");
        }
        let bound = |keyword: &str| {
            schema.notes.bounds.iter().find(|(name, _)| *name == keyword).map(|(_, bound)| *bound)
        };
        let above = |number: i64, least: i64| {
            number > least || (number == least && !schema.notes.exclusive_minimum)
        };
        let below = |number: i64, most: i64| {
            number < most || (number == most && !schema.notes.exclusive_maximum)
        };
        let within = |number: i64| {
            bound("minimum").is_none_or(|least| above(number, least))
                && bound("maximum").is_none_or(|most| below(number, most))
                && bound("multiple_of").is_none_or(|unit| unit != 0 && number % unit == 0)
        };
        let fits = match &schema.shape {
            Shape::Scalar(Scalar::I32) => default
                .as_i64()
                .is_some_and(|number| i32::try_from(number).is_ok() && within(number)),
            Shape::Scalar(Scalar::I64) => default.as_i64().is_some_and(within),
            Shape::Scalar(Scalar::Bool) => default.is_boolean(),
            Shape::Component(name) => self.model.iter().any(|component| match &component.kind {
                ComponentKind::Enum { values } => {
                    component.rust_name == *name
                        && values.iter().any(|value| default.as_str() == Some(&value.value))
                }
                ComponentKind::Object { .. } | ComponentKind::Scalar(_) => false,
            }),
            Shape::Scalar(_) | Shape::Array(_) => false,
        };
        if !fits {
            self.refuse(&at, "a default is supported for integers, truth values and enums, and has to be what the schema allows");
        }
    }
}

/// A token by RFC 9110 §5.6.2.
pub(super) fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
