//! What a change of `proto/` does to those who were built against the one before.
//!
//! `buf breaking` holds the wire, the JSON names and the generated code; these rules are the second
//! witness of that, and see what buf does not look for: enums on the topic, outcomes that an old
//! client cannot see, and rules of fields that stand in comments.

mod rules;
mod symbols;

use std::collections::BTreeSet;

use prost_types::{FieldDescriptorProto, FileDescriptorSet};

use crate::change::{Change, Findings, Level};
pub use rules::{Of, Rule};
use symbols::Message;
pub use symbols::Symbols;

/// The payload of the topic. It travels as JSON, by the names of its values, and strict readers
/// refuse a name that they do not know.
const TOPIC: &str = "merch.logging.v1.LogMessage";

/// Every difference between two compiled contracts that means something, by place, and one
/// [`Level::Patch`] if only comments do.
#[must_use]
pub fn compare(old: &FileDescriptorSet, new: &FileDescriptorSet) -> Vec<Change> {
    let (was, is) = (Symbols::of(old), Symbols::of(new));
    let mut findings = Findings::default();
    files(old, new, &mut findings);
    enums(&was, &is, &mut findings);
    messages(&was, &is, &mut findings);
    services(&was, &is, &mut findings);
    let mut changes = findings.into_changes();
    if changes.is_empty() && old != new {
        let mut words = Findings::default();
        words.add(
            Level::Patch,
            "proto/",
            "comments, order or other things that nobody reads from the outside differ",
            "",
        );
        changes = words.into_changes();
    }
    changes
}

fn files(old: &FileDescriptorSet, new: &FileDescriptorSet, findings: &mut Findings) {
    for was in &old.file {
        let Some(is) = new.file.iter().find(|is| is.name == was.name) else {
            findings.breaking(was.name(), "the file is gone", "others import it by its name");
            continue;
        };
        if was.package != is.package || was.syntax != is.syntax || was.options != is.options {
            findings.breaking(
                was.name(),
                "its package, syntax or options are others",
                "generated code is called by them",
            );
        }
    }
    for is in &new.file {
        if !old.file.iter().any(|was| is.name == was.name) {
            findings.compatible(is.name(), "the file is new");
        }
    }
}

fn enums(was: &Symbols<'_>, is: &Symbols<'_>, findings: &mut Findings) {
    let topic = was.reachable([TOPIC]);
    for (name, old) in &was.enums {
        let Some(new) = is.enums.get(name) else {
            findings.breaking(name, "the enum is gone", "");
            continue;
        };
        for value in &old.value {
            if !new
                .value
                .iter()
                .any(|other| other.name == value.name && other.number == value.number)
            {
                findings.breaking(
                    name,
                    format!("the value {} = {} is gone", value.name(), value.number()),
                    "it is on the wire, and in generated code",
                );
            }
        }
        for value in &new.value {
            if old.value.iter().any(|other| other.name == value.name) {
                continue;
            }
            let what = format!("the value {} is new", value.name());
            if topic.contains(name.as_str()) {
                findings.breaking(name, what, "the topic carries it as JSON, and strict readers refuse a name that they do not know");
            } else {
                findings.compatible(name, what);
            }
        }
        if old.options != new.options {
            findings.add(Level::Minor, name, "its options are others", "");
        }
    }
    additions("enum", was.enums.keys(), is.enums.keys(), findings);
}

fn messages(was: &Symbols<'_>, is: &Symbols<'_>, findings: &mut Findings) {
    let (asked, answered) =
        (was.reachable(was.requests()), was.reachable(was.responses().chain([TOPIC])));
    for (name, old) in &was.messages {
        let Some(new) = is.messages.get(name) else {
            findings.breaking(name, "the message is gone", "");
            continue;
        };
        let known = |field: &&FieldDescriptorProto| {
            old.descriptor.field.iter().any(|other| other.number == field.number)
        };
        for field in &old.descriptor.field {
            let place = format!("{name}.{}", field.name());
            match new.descriptor.field.iter().find(|other| other.number == field.number) {
                None => findings.breaking(
                    &place,
                    format!("the field {} is gone", field.number()),
                    "it is on the wire, and in generated code",
                ),
                Some(other) => {
                    field_changes(&place, (old, field), (new, other), findings);
                    let ways = (asked.contains(name.as_str()), answered.contains(name.as_str()));
                    rules::compare(
                        &place,
                        was.rule(name, field.name()),
                        is.rule(name, other.name()),
                        ways,
                        findings,
                    );
                }
            }
        }
        for field in new.descriptor.field.iter().filter(|field| !known(field)) {
            let what = format!("the field {} = {} is new", field.name(), field.number());
            match new.oneof(field) {
                Some(choice) if answered.contains(name.as_str()) && old.has_oneof(choice) => {
                    findings.breaking(
                        name,
                        what,
                        format!(
                            "an old client that is answered it finds nothing set in `{choice}`"
                        ),
                    );
                }
                _ => findings.compatible(name, what),
            }
        }
        reserved(name, old, new, findings);
    }
    additions("message", was.messages.keys(), is.messages.keys(), findings);
}

fn field_changes(
    place: &str,
    (was, old): (&Message<'_>, &FieldDescriptorProto),
    (is, new): (&Message<'_>, &FieldDescriptorProto),
    findings: &mut Findings,
) {
    let mut differs = |what: &str, same: bool| {
        if !same {
            findings.breaking(
                place,
                format!("its {what} is another"),
                "it is on the wire, in JSON or in generated code",
            );
        }
    };
    differs("name", old.name == new.name);
    differs("name in JSON", old.json_name == new.json_name);
    differs("type", old.r#type == new.r#type && old.type_name == new.type_name);
    differs("label", old.label == new.label && old.proto3_optional == new.proto3_optional);
    differs("default", old.default_value == new.default_value);
    differs("oneof", was.oneof(old) == is.oneof(new));
    let plain = |field: &FieldDescriptorProto| {
        field
            .options
            .clone()
            .map(|options| prost_types::FieldOptions { deprecated: None, ..options })
    };
    differs("option", plain(old).unwrap_or_default() == plain(new).unwrap_or_default());
    let deprecated = |field: &FieldDescriptorProto| {
        field.options.as_ref().is_some_and(|options| options.deprecated())
    };
    if deprecated(old) != deprecated(new) {
        findings.compatible(
            place,
            if deprecated(new) { "it is deprecated" } else { "it is not deprecated any more" },
        );
    }
}

fn reserved(name: &str, was: &Message<'_>, is: &Message<'_>, findings: &mut Findings) {
    for number in was.reserved_numbers() {
        if !is.reserved_numbers().any(|other| other.0 <= number.0 && number.1 <= other.1) {
            findings.breaking(
                name,
                format!("the numbers {} to {} are not reserved any more", number.0, number.1 - 1),
                "old messages may have them",
            );
        }
    }
    for reserved in was
        .descriptor
        .reserved_name
        .iter()
        .filter(|name| !is.descriptor.reserved_name.contains(name))
    {
        findings.breaking(
            name,
            format!("the name {reserved} is not reserved any more"),
            "old JSON may have it",
        );
    }
}

fn services(was: &Symbols<'_>, is: &Symbols<'_>, findings: &mut Findings) {
    for (name, old) in &was.services {
        let Some(new) = is.services.get(name) else {
            findings.breaking(name, "the service is gone", "");
            continue;
        };
        for method in &old.method {
            let place = format!("{name}.{}", method.name());
            match new.method.iter().find(|other| other.name == method.name) {
                None => findings.breaking(&place, "the method is gone", ""),
                Some(other) => {
                    let same = method.input_type == other.input_type
                        && method.output_type == other.output_type
                        && method.client_streaming() == other.client_streaming()
                        && method.server_streaming() == other.server_streaming();
                    if !same {
                        findings.breaking(
                            &place,
                            "it takes or answers another message, or another number of them",
                            "",
                        );
                    }
                }
            }
        }
        for method in &new.method {
            if !old.method.iter().any(|other| other.name == method.name) {
                findings.compatible(name, format!("the method {} is new", method.name()));
            }
        }
    }
    additions("service", was.services.keys(), is.services.keys(), findings);
}

fn additions<'n>(
    kind: &str,
    old: impl Iterator<Item = &'n String>,
    new: impl Iterator<Item = &'n String>,
    findings: &mut Findings,
) {
    let old: BTreeSet<&String> = old.collect();
    for name in new.filter(|name| !old.contains(name)) {
        findings.compatible(name, format!("the {kind} is new"));
    }
}
