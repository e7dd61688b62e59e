//! Schemas.

use openapiv3::{
    AdditionalProperties, ArrayType, BooleanType, IntegerFormat, IntegerType, ObjectType,
    ReferenceOr, Schema as Typed, SchemaData, SchemaKind, StringFormat, StringType, Type,
    VariantOrUnknownOrEmpty,
};
use serde_json::Value;

use super::{Reader, read_external_docs, text};
use crate::{
    error::Pointer,
    model::{Component, ComponentKind, EnumValue, Field, Notes, Scalar, Schema, Shape},
    names,
};

/// A schema taken apart: what may stand in `components`, what may stand anywhere.
enum Read {
    Object(Vec<Field>, bool),
    Enum(Vec<EnumValue>),
    Scalar(Scalar),
    Array(Box<Schema>),
}

impl Reader<'_> {
    /// Reads one of `components.schemas`.
    pub(super) fn component(&mut self, name: &str, schema: &ReferenceOr<Typed>, at: &Pointer) {
        if !name.starts_with(|first: char| first.is_ascii_uppercase())
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            self.refuse(at, format!("`{name}` is no name for a Rust type; write it in upper camel case, of ASCII letters and digits"));
            return;
        }
        self.claim(name, at);
        let ReferenceOr::Item(schema) = schema else {
            self.refuse(at, "a schema that is but another name for one is not supported");
            return;
        };
        let nullable = schema.schema_data.nullable;
        self.refuse_if(
            nullable,
            at,
            "nullable",
            "a component cannot be nullable: there is nothing to write beside a reference to it",
        );
        let Some((read, notes)) = self.schema_parts(schema, name, at) else { return };
        self.refuse_if(
            notes.default.is_some(),
            at,
            "default",
            "a component cannot have a default; write it at the parameter",
        );
        let kind = match read {
            Read::Object(fields, closed) => ComponentKind::Object { fields, closed },
            Read::Enum(values) => ComponentKind::Enum { values },
            Read::Scalar(scalar) => ComponentKind::Scalar(scalar),
            Read::Array(_) => {
                self.refuse(
                    at,
                    "an array as a component is not supported; write it where it is used",
                );
                return;
            }
        };
        self.model.push(Component { rust_name: name.to_owned(), named: true, kind, notes });
    }

    /// Reads a schema where it is used. An enum that is written out there becomes a type named
    /// `enum_name`.
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
                    self.refuse(
                        &at.at("$ref"),
                        format!("refers to `{reference}`, which does not exist"),
                    );
                    return None;
                }
                return Some(Schema {
                    shape: Shape::Component(name),
                    nullable: false,
                    notes: Notes::default(),
                });
            }
            ReferenceOr::Item(schema) => schema,
        };
        let nullable = schema.schema_data.nullable;
        let (read, notes) = self.schema_parts(schema, enum_name, at)?;
        let shape = match read {
            Read::Scalar(scalar) => Shape::Scalar(scalar),
            Read::Array(items) => Shape::Array(items),
            Read::Enum(values) => {
                self.refuse_if(nullable, at, "nullable", "an enum cannot be nullable");
                self.claim(enum_name, at);
                let component = Component {
                    rust_name: enum_name.to_owned(),
                    named: false,
                    kind: ComponentKind::Enum { values },
                    notes: Notes { description: notes.description.clone(), ..Notes::default() },
                };
                self.model.push(component);
                Shape::Component(enum_name.to_owned())
            }
            Read::Object(..) => {
                self.refuse(at, "an object that is written out here has no name; put it below /components/schemas");
                return None;
            }
        };
        Some(Schema { shape, nullable, notes })
    }

    fn schema_parts(&mut self, schema: &Typed, name: &str, at: &Pointer) -> Option<(Read, Notes)> {
        let Typed { schema_data, schema_kind } = schema;
        let mut notes = self.notes(schema_data, at);
        let kind = match schema_kind {
            SchemaKind::Type(kind) => kind,
            SchemaKind::OneOf { .. } => return self.refuse_kind(at, "oneOf"),
            SchemaKind::AllOf { .. } => return self.refuse_kind(at, "allOf"),
            SchemaKind::AnyOf { .. } => return self.refuse_kind(at, "anyOf"),
            SchemaKind::Not { .. } => return self.refuse_kind(at, "not"),
            SchemaKind::Any(_) => {
                self.refuse(
                    at,
                    "one `type` is expected, and beside it only keywords that go with it",
                );
                return None;
            }
        };
        let read = match kind {
            Type::String(kind) => self.string(kind, &mut notes, at)?,
            Type::Integer(kind) => Read::Scalar(self.integer(kind, &mut notes, at)?),
            Type::Boolean(BooleanType { enumeration }) => {
                self.refuse_if(
                    !enumeration.is_empty(),
                    at,
                    "enum",
                    "an enum of truth values is not supported",
                );
                Read::Scalar(Scalar::Bool)
            }
            Type::Number(_) => {
                self.refuse(
                    &at.at("type"),
                    "`number` is not supported; use an integer of the smallest unit",
                );
                return None;
            }
            Type::Object(kind) => self.object(kind, name, &mut notes, at),
            Type::Array(kind) => Read::Array(Box::new(self.array(kind, name, &mut notes, at)?)),
        };
        Some((read, notes))
    }

    fn refuse_kind<T>(&mut self, at: &Pointer, keyword: &str) -> Option<T> {
        self.refuse(&at.at(keyword), format!("`{keyword}` is not supported"));
        None
    }

    fn notes(&mut self, data: &SchemaData, at: &Pointer) -> Notes {
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
        self.refuse_if(
            *read_only,
            at,
            "readOnly",
            "`readOnly` is not supported; write one schema for requests and one for responses",
        );
        self.refuse_if(
            *write_only,
            at,
            "writeOnly",
            "`writeOnly` is not supported; write one schema for requests and one for responses",
        );
        self.refuse_if(
            discriminator.is_some(),
            at,
            "discriminator",
            "`discriminator` is not supported",
        );
        // `example: null` is one, but openapiv3 cannot tell it from none.
        let null_example = self
            .raw
            .pointer(&at.at("example").to_string())
            .filter(|example| example.is_null())
            .cloned();
        Notes {
            title: title.clone(),
            description: text(description.as_deref()),
            external_docs: external_docs.as_ref().map(read_external_docs),
            deprecated: *deprecated,
            default: default.clone(),
            example: example.clone().or(null_example),
            ..Notes::default()
        }
    }

    fn string(&mut self, kind: &StringType, notes: &mut Notes, at: &Pointer) -> Option<Read> {
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
            self.refuse(
                &at.at("pattern"),
                format!("the pattern is none that Rust's `regex` knows: {reason}"),
            );
        }
        notes.pattern.clone_from(pattern);
        self.bound(notes, "min_length", min_length.as_ref(), &at.at("minLength"));
        self.bound(notes, "max_length", max_length.as_ref(), &at.at("maxLength"));
        let scalar = match format {
            VariantOrUnknownOrEmpty::Empty => Scalar::String,
            VariantOrUnknownOrEmpty::Item(StringFormat::DateTime) => Scalar::DateTime,
            VariantOrUnknownOrEmpty::Item(StringFormat::Password) => {
                notes.format = Some("password".to_owned());
                Scalar::String
            }
            VariantOrUnknownOrEmpty::Unknown(format) if format == "uuid" => Scalar::Uuid,
            VariantOrUnknownOrEmpty::Unknown(format)
                if ["email", "uri", "uri-reference"].contains(&format.as_str()) =>
            {
                notes.format = Some(format.clone());
                Scalar::String
            }
            VariantOrUnknownOrEmpty::Item(
                StringFormat::Date | StringFormat::Byte | StringFormat::Binary,
            )
            | VariantOrUnknownOrEmpty::Unknown(_) => {
                self.refuse(
                    &at.at("format"),
                    "this format is not supported; known are uuid, date-time, email, password, uri and uri-reference",
                );
                return None;
            }
        };
        if scalar != Scalar::String && (pattern.is_some() || !notes.bounds.is_empty()) {
            self.refuse(
                at,
                "a string with the format `uuid` or `date-time` has its form from it; `pattern` and lengths are not supported beside it",
            );
        }
        if enumeration.is_empty() {
            return Some(Read::Scalar(scalar));
        }
        if scalar != Scalar::String
            || notes.format.is_some()
            || pattern.is_some()
            || !notes.bounds.is_empty()
        {
            self.refuse(at, "an enum says all there is to say; `format`, `pattern` and lengths are not supported beside it");
        }
        self.enumeration(enumeration, &at.at("enum")).map(Read::Enum)
    }

    fn enumeration(&mut self, values: &[Option<String>], at: &Pointer) -> Option<Vec<EnumValue>> {
        let mut read: Vec<EnumValue> = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let at = at.at(index);
            let Some(value) = value else {
                self.refuse(&at, "null as a value of an enum is not supported");
                continue;
            };
            let Some(rust_name) = names::pascal(value) else {
                self.refuse(&at, format!("`{value}` makes no name of an enum's variant"));
                continue;
            };
            if let Some(other) = read.iter().find(|other| other.rust_name == rust_name) {
                let reason = format!(
                    "`{value}` and `{}` would both be the variant `{rust_name}`",
                    other.value
                );
                self.refuse(&at, reason);
            }
            read.push(EnumValue { value: value.clone(), rust_name });
        }
        Some(read)
    }

    fn integer(&mut self, kind: &IntegerType, notes: &mut Notes, at: &Pointer) -> Option<Scalar> {
        let IntegerType {
            format,
            multiple_of,
            exclusive_minimum,
            exclusive_maximum,
            minimum,
            maximum,
            enumeration,
        } = kind;
        self.refuse_if(!enumeration.is_empty(), at, "enum", "an enum of numbers is not supported");
        self.bound(notes, "minimum", minimum.as_ref(), &at.at("minimum"));
        self.bound(notes, "maximum", maximum.as_ref(), &at.at("maximum"));
        self.bound(notes, "multiple_of", multiple_of.as_ref(), &at.at("multipleOf"));
        notes.exclusive_minimum = *exclusive_minimum;
        notes.exclusive_maximum = *exclusive_maximum;
        match format {
            VariantOrUnknownOrEmpty::Item(IntegerFormat::Int32) => Some(Scalar::I32),
            VariantOrUnknownOrEmpty::Item(IntegerFormat::Int64) => Some(Scalar::I64),
            VariantOrUnknownOrEmpty::Empty | VariantOrUnknownOrEmpty::Unknown(_) => {
                self.refuse(
                    at,
                    "an integer has to say how long it is: `format: int32` or `format: int64`",
                );
                None
            }
        }
    }

    /// Notes a bound. poem-openapi keeps it as a float, so that it has to be one without loss.
    fn bound<N: Copy + TryInto<i64>>(
        &mut self,
        notes: &mut Notes,
        keyword: &'static str,
        bound: Option<&N>,
        at: &Pointer,
    ) {
        const EXACT_IN_A_FLOAT: i64 = 1 << 53;
        let Some(bound) = bound else { return };
        match (*bound).try_into() {
            Ok(bound) if (-EXACT_IN_A_FLOAT..=EXACT_IN_A_FLOAT).contains(&bound) => {
                notes.bounds.push((keyword, bound))
            }
            Ok(_) | Err(_) => self
                .refuse(at, "is beyond 2^53, which the emitted document cannot say without loss"),
        }
    }

    fn object(&mut self, kind: &ObjectType, name: &str, notes: &mut Notes, at: &Pointer) -> Read {
        let ObjectType {
            properties,
            required,
            additional_properties,
            min_properties,
            max_properties,
        } = kind;
        self.bound(notes, "min_properties", min_properties.as_ref(), &at.at("minProperties"));
        self.bound(notes, "max_properties", max_properties.as_ref(), &at.at("maxProperties"));
        let closed = match additional_properties {
            None | Some(AdditionalProperties::Any(true)) => false,
            Some(AdditionalProperties::Any(false)) => true,
            Some(AdditionalProperties::Schema(_)) => {
                self.refuse(
                    &at.at("additionalProperties"),
                    "members of free names are not supported; name them, or say `false`",
                );
                false
            }
        };
        if additional_properties == &Some(AdditionalProperties::Any(true)) {
            self.refuse(
                &at.at("additionalProperties"),
                "`true` is what is meant without it; leave it out",
            );
        }
        if properties.is_empty() {
            self.refuse(at, "an object without named members is not supported");
        }
        for (index, name) in required.iter().enumerate() {
            if !properties.contains_key(name) {
                self.refuse(
                    &at.at("required").at(index),
                    format!("`{name}` is required, but is none of the properties"),
                );
            }
        }
        let mut fields: Vec<Field> = Vec::new();
        for (property, schema) in properties {
            let at = at.at("properties").at(property);
            let (Some(rust_name), Some(camel)) = (names::snake(property), names::pascal(property))
            else {
                self.refuse(&at, format!("`{property}` makes no name of a Rust field"));
                continue;
            };
            if let Some(other) = fields.iter().find(|other| other.rust_name == rust_name) {
                let reason = format!(
                    "`{property}` and `{}` would both be the field `{rust_name}`",
                    other.name
                );
                self.refuse(&at, reason);
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
        Read::Object(fields, closed)
    }

    fn array(
        &mut self,
        kind: &ArrayType,
        name: &str,
        notes: &mut Notes,
        at: &Pointer,
    ) -> Option<Schema> {
        let ArrayType { items, min_items, max_items, unique_items } = kind;
        self.bound(notes, "min_items", min_items.as_ref(), &at.at("minItems"));
        self.bound(notes, "max_items", max_items.as_ref(), &at.at("maxItems"));
        notes.unique_items = *unique_items;
        let Some(items) = items else {
            self.refuse(at, "an array without `items` is not supported");
            return None;
        };
        let schema =
            self.schema(&items.clone().unbox(), &format!("{name}Item"), &at.at("items"))?;
        self.refuse_if(
            schema.nullable,
            &at.at("items"),
            "nullable",
            "items that may be null are not supported",
        );
        Some(schema)
    }

    /// The raw value at a place; null if there is none.
    pub(super) fn raw_at(&self, at: &Pointer) -> Value {
        self.raw.pointer(&at.to_string()).cloned().unwrap_or_default()
    }
}
