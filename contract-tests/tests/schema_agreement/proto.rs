//! Reads `proto/`: types, and the rules of fields.

use std::collections::BTreeMap;

use contract_breaking::{CompiledProtos, proto::Symbols};
use prost_types::{FieldDescriptorProto, field_descriptor_proto::Type};
use proto_rules::{Constraint, FieldRules, Format};

use crate::field_facts::{FieldFacts, ValueType};

pub(crate) fn message(protos: &CompiledProtos, name: &str) -> BTreeMap<String, FieldFacts> {
    let symbols = Symbols::of(&protos.descriptors);
    let rules = protos.rules.message(name);
    let message =
        symbols.messages.get(name).unwrap_or_else(|| panic!("proto/ has no message {name}"));
    message
        .descriptor
        .field
        .iter()
        .map(|field| {
            (field.name().to_owned(), facts(&symbols, name, field, rules.field(field.name())))
        })
        .collect()
}

fn facts(
    symbols: &Symbols<'_>,
    message: &str,
    field: &FieldDescriptorProto,
    rules: &FieldRules,
) -> FieldFacts {
    let type_name = field.type_name().trim_start_matches('.');
    let comment = symbols.comment(message, field.name()).unwrap_or_default();
    let (native, kind) = match field.r#type() {
        _ if field.label() == prost_types::field_descriptor_proto::Label::Repeated => {
            ("repeated", ValueType::Other)
        }
        Type::String if is_uuid(rules) => ("string", ValueType::Uuid),
        Type::String => ("string", ValueType::Text),
        Type::Int32 => ("int32", ValueType::Int32),
        Type::Int64 => ("int64", ValueType::Int64),
        Type::Bool => ("bool", ValueType::Bool),
        Type::Bytes => ("bytes", ValueType::Bytes),
        Type::Enum => (type_name.rsplit('.').next().unwrap_or_default(), ValueType::Choice),
        Type::Message if type_name == "google.protobuf.Timestamp" => {
            ("google.protobuf.Timestamp", ValueType::Time)
        }
        _ => (type_name, ValueType::Other),
    };
    let mut facts = FieldFacts::new(native, &[kind]);
    // Message fields are always optional in protobuf; it cannot declare otherwise.
    facts.optional = (field.r#type() != Type::Message).then(|| field.proto3_optional());
    // A scalar is never null. For a time, the comment states whether it may be missing.
    facts.nullable = (kind == ValueType::Time).then(|| comment.contains("not set"));
    match &rules.constraint {
        Constraint::Number(bounds)
        | Constraint::List { items: bounds, .. }
        | Constraint::Map { pairs: bounds, .. } => {
            (facts.minimum, facts.maximum) = (bounds.min, bounds.max);
        }
        Constraint::Text(text) if kind != ValueType::Uuid => {
            if let Some(pattern) = &text.pattern {
                facts.pattern(pattern);
            }
            facts.length(text.length.min, text.length.max);
        }
        _ => {}
    }
    if field.r#type() == Type::Enum {
        facts.values = symbols.enums.get(type_name).map(|declared| {
            // ORDER_STATUS_PLACED of OrderStatus is `placed`; the first value is unspecified.
            let prefix = declared
                .value
                .first()
                .map_or("", |zero| zero.name().trim_end_matches("UNSPECIFIED"));
            declared
                .value
                .iter()
                .filter(|value| value.number() != 0)
                .map(|value| value.name().trim_start_matches(prefix).to_ascii_lowercase())
                .collect()
        });
    }
    facts
}

fn is_uuid(rules: &FieldRules) -> bool {
    matches!(&rules.constraint, Constraint::Text(text) if text.format == Some(Format::Uuid))
}
