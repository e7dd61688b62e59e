//! Lowers parameters.

use openapiv3::{
    HeaderStyle, Parameter as Typed, ParameterData, ParameterSchemaOrContent, PathStyle,
    QueryStyle, ReferenceOr,
};

use super::{Lowering, text};
use crate::{
    error::Pointer,
    model::{ComponentKind, Location, Parameter, Scalar, Schema, Shape},
    names,
};

/// OpenAPI 3.0 ignores these header parameters.
const IGNORED_HEADERS: [&str; 3] = ["accept", "content-type", "authorization"];

impl Lowering<'_> {
    pub(super) fn check_path_variables(&mut self, indices: &[usize], path: &str, at: &Pointer) {
        for segment in path.split('/').filter(|segment| segment.starts_with('{')) {
            let name = segment.trim_matches(['{', '}']);
            if !indices.iter().any(|index| {
                self.parameters[*index].location == Location::Path
                    && self.parameters[*index].name == name
            }) {
                self.report(
                    &at.at("parameters"),
                    format!("the path's variable `{name}` has no parameter"),
                );
            }
        }
    }

    pub(super) fn check_arguments(
        &mut self,
        indices: &[usize],
        scheme: Option<&str>,
        at: &Pointer,
    ) {
        let mut arguments: Vec<String> = vec!["body".to_owned()];
        arguments.extend(scheme.and_then(names::snake));
        for index in indices {
            let argument = self.parameters[*index].argument.clone();
            if arguments.contains(&argument) {
                self.report(
                    &at.at("parameters"),
                    format!("two arguments would be named `{argument}`; rename one"),
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
            let Some((typed, at)) = self.resolve(parameter, "parameters", &shared, &at) else {
                continue;
            };
            let key = at.to_string();
            if let Some(index) = self.parameter_indices.get(&key) {
                indices.push(*index);
                continue;
            }
            let Some(parameter) = self.parameter(&typed, parameter, path, &at) else { continue };
            self.parameter_indices.insert(key, self.parameters.len());
            indices.push(self.parameters.len());
            self.parameters.push(parameter);
        }
        for index in &indices {
            let parameter = &self.parameters[*index];
            if parameter.location == Location::Path
                && !path.split('/').any(|segment| segment == format!("{{{}}}", parameter.name))
            {
                let reason = format!("the path has no variable `{}`", parameter.name);
                self.report(&at.at("parameters"), reason);
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
                self.report_if(
                    *allow_reserved,
                    at,
                    "allowReserved",
                    "`allowReserved` is not supported",
                );
                self.report_if(
                    *style != QueryStyle::Form,
                    at,
                    "style",
                    "only the default style is supported",
                );
                self.report_if(
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
                self.report_if(
                    *style != PathStyle::Simple,
                    at,
                    "style",
                    "only the default style is supported",
                );
                (parameter_data, Location::Path)
            }
            Typed::Cookie { .. } => {
                self.report(&at.at("in"), "parameters in cookies are not supported; use a header");
                return None;
            }
        };
        // Examples: see `gaps`.
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
        self.report_if(
            explode.is_some(),
            at,
            "explode",
            "`explode` has no effect on scalars; remove it",
        );
        if location == Location::Header
            && IGNORED_HEADERS.contains(&name.to_ascii_lowercase().as_str())
        {
            self.report(
                &at.at("name"),
                "OpenAPI ignores this header as a parameter; use `content` or a security scheme",
            );
        }
        let valid_name = match location {
            Location::Header => is_header_name(name),
            Location::Path | Location::Query => true,
        };
        let Some(argument) = names::snake(name).filter(|_| valid_name) else {
            self.report(&at.at("name"), format!("`{name}` cannot become a Rust argument name"));
            return None;
        };
        // A shared parameter is named after its component, an inline one after its operation.
        let rust_name = match written {
            ReferenceOr::Reference { .. } => {
                names::pascal(at.to_string().rsplit('/').next().unwrap_or_default())
            }
            ReferenceOr::Item(_) => names::pascal(&format!("{} {name}", self.owner_name(path, at))),
        };
        let Some(rust_name) = rust_name else {
            self.report(at, "this name cannot become a Rust type name");
            return None;
        };
        self.declare(&format!("parameters::{rust_name}"), at);
        let ParameterSchemaOrContent::Schema(schema) = format else {
            self.report(
                &at.at("content"),
                "`content` is not supported in parameters; use `schema`",
            );
            return None;
        };
        let schema_at = at.at("schema");
        let schema = self.schema(schema, &rust_name, &schema_at)?;
        self.check_parameter_shape(&schema, location, &schema_at);
        self.check_default(&schema, *required, &schema_at);
        let description = text(description.as_deref());
        self.check_doc_text(description.as_deref(), &at.at("description"));
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

    /// Returns the owner of an inline parameter: the operation's id, or the path without variables.
    fn owner_name(&self, path: &str, at: &Pointer) -> String {
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

    /// Reports a default that the schema does not allow: the operation receives it unvalidated.
    fn check_default(&mut self, schema: &Schema, required: bool, at: &Pointer) {
        let Some(default) = &schema.keywords.default else { return };
        let at = at.at("default");
        if required {
            self.report(&at, "a required parameter cannot have a default; remove one of them");
        }
        let bound = |keyword: &str| {
            schema
                .keywords
                .bounds
                .iter()
                .find(|(name, _)| *name == keyword)
                .map(|(_, bound)| *bound)
        };
        let above = |number: i64, least: i64| {
            number > least || (number == least && !schema.keywords.exclusive_minimum)
        };
        let below = |number: i64, most: i64| {
            number < most || (number == most && !schema.keywords.exclusive_maximum)
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
            Shape::Component(name) => self.types.iter().any(|component| match &component.kind {
                ComponentKind::Enum { values } => {
                    component.rust_name == *name
                        && values.iter().any(|value| default.as_str() == Some(&value.value))
                }
                ComponentKind::Object { .. } | ComponentKind::Scalar(_) => false,
            }),
            Shape::Scalar(_) | Shape::Array(_) => false,
        };
        if !fits {
            self.report(
                &at,
                "expected a default that the schema allows, of an integer, boolean or enum",
            );
        }
    }
}

/// Whether a name is a token (RFC 9110 §5.6.2).
pub(super) fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
