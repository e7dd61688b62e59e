//! Reads the fields of `proto/`: their types, and the rules in their comments.

use std::collections::BTreeMap;

use contract_breaking::proto::{Of, Symbols};
use prost_types::{FieldDescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};

use crate::facts::{Facts, Kind, class};

/// The fields of a message, by its full name.
pub(crate) fn message(descriptors: &FileDescriptorSet, name: &str) -> BTreeMap<String, Facts> {
    let symbols = Symbols::of(descriptors);
    let message =
        symbols.messages.get(name).unwrap_or_else(|| panic!("proto/ has no message {name}"));
    message
        .descriptor
        .field
        .iter()
        .map(|field| (field.name().to_owned(), facts(&symbols, name, field)))
        .collect()
}

fn facts(symbols: &Symbols<'_>, message: &str, field: &FieldDescriptorProto) -> Facts {
    let type_name = field.type_name().trim_start_matches('.');
    let comment = symbols.comment(message, field.name()).unwrap_or_default();
    let (native, kind) = match field.r#type() {
        _ if field.label() == prost_types::field_descriptor_proto::Label::Repeated => {
            ("repeated", Kind::Other)
        }
        Type::String if comment.contains("UUID") => ("string", Kind::Uuid),
        Type::String => ("string", Kind::Text),
        Type::Int32 => ("int32", Kind::Int32),
        Type::Int64 => ("int64", Kind::Int64),
        Type::Bool => ("bool", Kind::Bool),
        Type::Bytes => ("bytes", Kind::Bytes),
        Type::Enum => (type_name.rsplit('.').next().unwrap_or_default(), Kind::Choice),
        Type::Message if type_name == "google.protobuf.Timestamp" => {
            ("google.protobuf.Timestamp", Kind::Time)
        }
        _ => (type_name, Kind::Other),
    };
    let mut facts = Facts::new(native, &[kind]);
    // What is a message can always be absent, and protobuf does not say where that is meant.
    facts.optional = (field.r#type() != Type::Message).then(|| field.proto3_optional());
    // A scalar is never null; of a time the comment says whether it may be missing.
    facts.nullable = (kind == Kind::Time).then(|| comment.contains("not set"));
    if let Some(rule) = symbols.rule(message, field.name()).filter(|_| kind != Kind::Uuid) {
        match rule.of {
            Of::Value => (facts.minimum, facts.maximum) = (rule.min, rule.max),
            Of::Length => facts.length(rule.min, rule.max),
        }
        facts.characters = rule.characters.as_deref().map(class);
    }
    if field.r#type() == Type::Enum {
        facts.values = symbols.enums.get(type_name).map(|declared| {
            // ORDER_STATUS_PLACED of OrderStatus is `placed`; the first value is never sent.
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
