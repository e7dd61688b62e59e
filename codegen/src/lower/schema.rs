//! Lowers schemas.

use openapiv3::{
    AdditionalProperties, ArrayType, BooleanType, IntegerFormat, IntegerType, ObjectType,
    ReferenceOr, Schema as Typed, SchemaData, SchemaKind, StringFormat, StringType, Type,
    VariantOrUnknownOrEmpty,
};
use serde_json::Value;

use super::{Lowering, lower_external_docs, text};
use crate::{
    error::Pointer,
    model::{Component, ComponentKind, EnumValue, Field, Keywords, Scalar, Schema, Shape},
    names,
};

enum LoweredSchema {
    Object(Vec<Field>, bool),
    Enum(Vec<EnumValue>),
    Scalar(Scalar),
    Array(Box<Schema>),
}

impl Lowering<'_> {
    pub(super) fn component(&mut self, name: &str, schema: &ReferenceOr<Typed>, at: &Pointer) {
        if !name.starts_with(|first: char| first.is_ascii_uppercase())
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            self.report(
                at,
                format!(
                    "`{name}` cannot be a Rust type name; use upper camel case, ASCII letters and \
                     digits"
                ),
            );
            return;
        }
        self.declare(name, at);
        let ReferenceOr::Item(schema) = schema else {
            self.report(at, "an alias of another schema is not supported; refer to that schema");
            return;
        };
        let nullable = schema.schema_data.nullable;
        self.report_if(
            nullable,
            at,
            "nullable",
            "a component schema cannot be nullable; write the schema inline",
        );
        let Some((lowered, keywords)) = self.lower_type(schema, name, at) else { return };
        self.report_if(
            keywords.default.is_some(),
            at,
            "default",
            "a component schema cannot have a default; write it at the parameter",
        );
        let kind = match lowered {
            LoweredSchema::Object(fields, closed) => ComponentKind::Object { fields, closed },
            LoweredSchema::Enum(values) => ComponentKind::Enum { values },
            LoweredSchema::Scalar(scalar) => ComponentKind::Scalar(scalar),
            LoweredSchema::Array(_) => {
                self.report(at, "an array cannot be a component schema; write it inline");
                return;
            }
        };
        self.types.push(Component { rust_name: name.to_owned(), named: true, kind, keywords });
    }

    /// Lowers a schema where it is used. An inline enum becomes a type named `enum_name`.
    pub(super) fn schema(
        &mut self,
        schema: &ReferenceOr<Typed>,
        enum_name: &str,
        at: &Pointer,
    ) -> Option<Schema> {
        let schema = match schema {
            ReferenceOr::Reference { reference } => {
                let name = self.component_name(reference, "schemas", at)?;
                if self.components.schemas.get(&name).is_none() {
                    self.report(&at.at("$ref"), format!("`{reference}` does not exist"));
                    return None;
                }
                return Some(Schema {
                    shape: Shape::Component(name),
                    nullable: false,
                    keywords: Keywords::default(),
                });
            }
            ReferenceOr::Item(schema) => schema,
        };
        let nullable = schema.schema_data.nullable;
        let (lowered, keywords) = self.lower_type(schema, enum_name, at)?;
        let shape = match lowered {
            LoweredSchema::Scalar(scalar) => Shape::Scalar(scalar),
            LoweredSchema::Array(items) => Shape::Array(items),
            LoweredSchema::Enum(values) => {
                self.report_if(nullable, at, "nullable", "an enum cannot be nullable");
                self.declare(enum_name, at);
                let component = Component {
                    rust_name: enum_name.to_owned(),
                    named: false,
                    kind: ComponentKind::Enum { values },
                    keywords: Keywords {
                        description: keywords.description.clone(),
                        ..Keywords::default()
                    },
                };
                self.types.push(component);
                Shape::Component(enum_name.to_owned())
            }
            LoweredSchema::Object(..) => {
                self.report(at, "an inline object has no name; move it to /components/schemas");
                return None;
            }
        };
        Some(Schema { shape, nullable, keywords })
    }

    fn lower_type(
        &mut self,
        schema: &Typed,
        name: &str,
        at: &Pointer,
    ) -> Option<(LoweredSchema, Keywords)> {
        let Typed { schema_data, schema_kind } = schema;
        let mut keywords = self.keywords(schema_data, at);
        let kind = match schema_kind {
            SchemaKind::Type(kind) => kind,
            SchemaKind::OneOf { .. } => return self.unsupported_keyword(at, "oneOf"),
            SchemaKind::AllOf { .. } => return self.unsupported_keyword(at, "allOf"),
            SchemaKind::AnyOf { .. } => return self.unsupported_keyword(at, "anyOf"),
            SchemaKind::Not { .. } => return self.unsupported_keyword(at, "not"),
            SchemaKind::Any(_) => {
                self.report(at, "expected one `type`, and only keywords of that type");
                return None;
            }
        };
        let lowered = match kind {
            Type::String(kind) => self.string(kind, &mut keywords, at)?,
            Type::Integer(kind) => LoweredSchema::Scalar(self.integer(kind, &mut keywords, at)?),
            Type::Boolean(BooleanType { enumeration }) => {
                self.report_if(
                    !enumeration.is_empty(),
                    at,
                    "enum",
                    "an enum of booleans is not supported",
                );
                LoweredSchema::Scalar(Scalar::Bool)
            }
            Type::Number(_) => {
                self.report(
                    &at.at("type"),
                    "`number` is not supported; use an integer of the smallest unit",
                );
                return None;
            }
            Type::Object(kind) => self.object(kind, name, &mut keywords, at),
            Type::Array(kind) => {
                LoweredSchema::Array(Box::new(self.array(kind, name, &mut keywords, at)?))
            }
        };
        Some((lowered, keywords))
    }

    fn unsupported_keyword<T>(&mut self, at: &Pointer, keyword: &str) -> Option<T> {
        self.report(&at.at(keyword), format!("`{keyword}` is not supported"));
        None
    }

    fn keywords(&mut self, data: &SchemaData, at: &Pointer) -> Keywords {
        let SchemaData {
            nullable: _,
            read_only,
            write_only,
            deprecated,
            external_docs,
            example,
            title,
            description,
            discriminator,
            default,
            extensions: _,
        } = data;
        self.report_if(
            *read_only,
            at,
            "readOnly",
            "`readOnly` is not supported; write one schema for requests and one for responses",
        );
        self.report_if(
            *write_only,
            at,
            "writeOnly",
            "`writeOnly` is not supported; write one schema for requests and one for responses",
        );
        self.report_if(
            discriminator.is_some(),
            at,
            "discriminator",
            "`discriminator` is not supported",
        );
        // openapiv3 reads `example: null` as no example.
        let null_example = self
            .raw
            .pointer(&at.at("example").to_string())
            .filter(|example| example.is_null())
            .cloned();
        Keywords {
            title: title.clone(),
            description: text(description.as_deref()),
            external_docs: external_docs.as_ref().map(lower_external_docs),
            deprecated: *deprecated,
            default: default.clone(),
            example: example.clone().or(null_example),
            ..Keywords::default()
        }
    }

    fn string(
        &mut self,
        kind: &StringType,
        keywords: &mut Keywords,
        at: &Pointer,
    ) -> Option<LoweredSchema> {
        let StringType { format, pattern, enumeration, min_length, max_length } = kind;
        if let Some(pattern) = pattern
            && let Err(error) = regex::Regex::new(pattern)
        {
            let reason = error
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
                .to_owned();
            self.report(
                &at.at("pattern"),
                format!("Rust's `regex` does not support the pattern: {reason}"),
            );
        }
        keywords.pattern.clone_from(pattern);
        self.bound(keywords, "min_length", min_length.as_ref(), &at.at("minLength"));
        self.bound(keywords, "max_length", max_length.as_ref(), &at.at("maxLength"));
        let scalar = match format {
            VariantOrUnknownOrEmpty::Empty => Scalar::String,
            VariantOrUnknownOrEmpty::Item(StringFormat::DateTime) => Scalar::DateTime,
            VariantOrUnknownOrEmpty::Item(StringFormat::Password) => {
                keywords.format = Some("password".to_owned());
                Scalar::String
            }
            VariantOrUnknownOrEmpty::Unknown(format) if format == "uuid" => Scalar::Uuid,
            VariantOrUnknownOrEmpty::Unknown(format)
                if ["email", "uri", "uri-reference"].contains(&format.as_str()) =>
            {
                keywords.format = Some(format.clone());
                Scalar::String
            }
            VariantOrUnknownOrEmpty::Item(
                StringFormat::Date | StringFormat::Byte | StringFormat::Binary,
            )
            | VariantOrUnknownOrEmpty::Unknown(_) => {
                self.report(
                    &at.at("format"),
                    "this format is not supported; use uuid, date-time, email, password, uri or \
                     uri-reference",
                );
                return None;
            }
        };
        if scalar != Scalar::String && (pattern.is_some() || !keywords.bounds.is_empty()) {
            self.report(
                at,
                "`pattern`, `minLength` and `maxLength` are not supported with the format `uuid` \
                 or `date-time`",
            );
        }
        if enumeration.is_empty() {
            return Some(LoweredSchema::Scalar(scalar));
        }
        if scalar != Scalar::String
            || keywords.format.is_some()
            || pattern.is_some()
            || !keywords.bounds.is_empty()
        {
            self.report(
                at,
                "`format`, `pattern`, `minLength` and `maxLength` are not supported with `enum`",
            );
        }
        self.enumeration(enumeration, &at.at("enum")).map(LoweredSchema::Enum)
    }

    fn enumeration(&mut self, values: &[Option<String>], at: &Pointer) -> Option<Vec<EnumValue>> {
        let mut lowered: Vec<EnumValue> = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let at = at.at(index);
            let Some(value) = value else {
                self.report(&at, "null as a value of an enum is not supported");
                continue;
            };
            let Some(rust_name) = names::pascal(value) else {
                self.report(&at, format!("`{value}` cannot become a Rust variant name"));
                continue;
            };
            if let Some(other) = lowered.iter().find(|other| other.rust_name == rust_name) {
                let reason = format!(
                    "`{value}` and `{}` would both be the variant `{rust_name}`",
                    other.value
                );
                self.report(&at, reason);
            }
            lowered.push(EnumValue { value: value.clone(), rust_name });
        }
        Some(lowered)
    }

    fn integer(
        &mut self,
        kind: &IntegerType,
        keywords: &mut Keywords,
        at: &Pointer,
    ) -> Option<Scalar> {
        let IntegerType {
            format,
            multiple_of,
            exclusive_minimum,
            exclusive_maximum,
            minimum,
            maximum,
            enumeration,
        } = kind;
        self.report_if(!enumeration.is_empty(), at, "enum", "an enum of numbers is not supported");
        self.bound(keywords, "minimum", minimum.as_ref(), &at.at("minimum"));
        self.bound(keywords, "maximum", maximum.as_ref(), &at.at("maximum"));
        self.bound(keywords, "multiple_of", multiple_of.as_ref(), &at.at("multipleOf"));
        keywords.exclusive_minimum = *exclusive_minimum;
        keywords.exclusive_maximum = *exclusive_maximum;
        match format {
            VariantOrUnknownOrEmpty::Item(IntegerFormat::Int32) => Some(Scalar::I32),
            VariantOrUnknownOrEmpty::Item(IntegerFormat::Int64) => Some(Scalar::I64),
            VariantOrUnknownOrEmpty::Empty | VariantOrUnknownOrEmpty::Unknown(_) => {
                self.report(at, "expected `format: int32` or `format: int64`");
                None
            }
        }
    }

    /// Adds a bound. poem-openapi stores it as a float, so it must be exact in a float.
    fn bound<N: Copy + TryInto<i64>>(
        &mut self,
        keywords: &mut Keywords,
        keyword: &'static str,
        bound: Option<&N>,
        at: &Pointer,
    ) {
        const EXACT_IN_A_FLOAT: i64 = 1 << 53;
        let Some(bound) = bound else { return };
        match (*bound).try_into() {
            Ok(bound) if (-EXACT_IN_A_FLOAT..=EXACT_IN_A_FLOAT).contains(&bound) => {
                keywords.bounds.push((keyword, bound))
            }
            Ok(_) | Err(_) => {
                self.report(at, "is beyond 2^53: poem-openapi stores bounds as floats")
            }
        }
    }

    fn object(
        &mut self,
        kind: &ObjectType,
        name: &str,
        keywords: &mut Keywords,
        at: &Pointer,
    ) -> LoweredSchema {
        let ObjectType {
            properties,
            required,
            additional_properties,
            min_properties,
            max_properties,
        } = kind;
        self.bound(keywords, "min_properties", min_properties.as_ref(), &at.at("minProperties"));
        self.bound(keywords, "max_properties", max_properties.as_ref(), &at.at("maxProperties"));
        let closed = match additional_properties {
            None | Some(AdditionalProperties::Any(true)) => false,
            Some(AdditionalProperties::Any(false)) => true,
            Some(AdditionalProperties::Schema(_)) => {
                self.report(
                    &at.at("additionalProperties"),
                    "a schema of additional properties is not supported; list the properties or \
                     write `false`",
                );
                false
            }
        };
        if additional_properties == &Some(AdditionalProperties::Any(true)) {
            self.report(&at.at("additionalProperties"), "`true` is the default; remove it");
        }
        if properties.is_empty() {
            self.report(at, "an object without `properties` is not supported");
        }
        for (index, name) in required.iter().enumerate() {
            if !properties.contains_key(name) {
                self.report(
                    &at.at("required").at(index),
                    format!("`{name}` is required but not in `properties`"),
                );
            }
        }
        let mut fields: Vec<Field> = Vec::new();
        for (property, schema) in properties {
            let at = at.at("properties").at(property);
            let (Some(rust_name), Some(camel)) = (names::snake(property), names::pascal(property))
            else {
                self.report(&at, format!("`{property}` cannot become a Rust field name"));
                continue;
            };
            if let Some(other) = fields.iter().find(|other| other.rust_name == rust_name) {
                let reason = format!(
                    "`{property}` and `{}` would both be the field `{rust_name}`",
                    other.name
                );
                self.report(&at, reason);
            }
            let Some(schema) = self.schema(&schema.clone().unbox(), &format!("{name}{camel}"), &at)
            else {
                continue;
            };
            fields.push(Field {
                name: property.clone(),
                rust_name,
                required: required.contains(property),
                schema,
            });
        }
        LoweredSchema::Object(fields, closed)
    }

    fn array(
        &mut self,
        kind: &ArrayType,
        name: &str,
        keywords: &mut Keywords,
        at: &Pointer,
    ) -> Option<Schema> {
        let ArrayType { items, min_items, max_items, unique_items } = kind;
        self.bound(keywords, "min_items", min_items.as_ref(), &at.at("minItems"));
        self.bound(keywords, "max_items", max_items.as_ref(), &at.at("maxItems"));
        keywords.unique_items = *unique_items;
        let Some(items) = items else {
            self.report(at, "an array without `items` is not supported");
            return None;
        };
        let schema =
            self.schema(&items.clone().unbox(), &format!("{name}Item"), &at.at("items"))?;
        self.report_if(
            schema.nullable,
            &at.at("items"),
            "nullable",
            "nullable items are not supported",
        );
        Some(schema)
    }

    /// Returns the raw value at a pointer, or null.
    pub(super) fn raw_at(&self, at: &Pointer) -> Value {
        self.raw.pointer(&at.to_string()).cloned().unwrap_or_default()
    }
}
