//! Changes of `proto/` that `buf breaking` does not detect: new values of enums on the topic, new
//! outcomes of a `oneof`, rules of fields, and compatible additions.

mod field_rules;
mod symbols;

use prost_types::{
    FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use proto_rules::Rules;

pub use self::symbols::Symbols;
use crate::{
    change::{Change, Detector, Findings, Level},
    contracts::CompiledProtos,
};

/// The payload of the topic. Its JSON contains the names of enum values, and strict readers refuse
/// an unknown name.
const TOPIC_MESSAGE: &str = "merch.logging.v1.LogMessage";

/// Lists the changes between two compiled contracts that buf does not detect.
#[must_use]
pub fn changes(old: &CompiledProtos, new: &CompiledProtos) -> Vec<Change> {
    let (was, is) = (Symbols::of(&old.descriptors), Symbols::of(&new.descriptors));
    let mut findings = Findings::default();
    topic_enums(&was, &is, &mut findings);
    messages((&was, &old.rules), (&is, &new.rules), &mut findings);
    for name in is.names().difference(&was.names()) {
        findings.add(Level::Minor, name, "added", "");
    }
    findings.into_changes(Detector::OwnRules)
}

/// Classifies a difference in which neither a rule nor buf found a change.
#[must_use]
pub fn other_changes(old: &CompiledProtos, new: &CompiledProtos) -> Vec<Change> {
    let mut findings = Findings::default();
    let (old, new) = (&old.descriptors, &new.descriptors);
    if without_comments(old) != without_comments(new) {
        findings.add(Level::Minor, "proto/", "compatible parts differ", "");
    } else if old != new {
        findings.add(Level::Patch, "proto/", "comments differ", "");
    }
    findings.into_changes(Detector::OwnRules)
}

fn topic_enums(was: &Symbols<'_>, is: &Symbols<'_>, findings: &mut Findings) {
    for name in was.reachable([TOPIC_MESSAGE]) {
        let (Some(old), Some(new)) = (was.enums.get(name), is.enums.get(name)) else { continue };
        for value in &new.value {
            if !old.value.iter().any(|known| known.name == value.name) {
                let what = format!("the value {} was added", value.name());
                let why = "the topic carries its name as JSON, and strict readers refuse it";
                findings.add(Level::Major, name, what, why);
            }
        }
    }
}

fn messages(
    (was, old_rules): (&Symbols<'_>, &Rules),
    (is, new_rules): (&Symbols<'_>, &Rules),
    findings: &mut Findings,
) {
    let requests = was.reachable(was.requests());
    let responses = was.reachable(was.responses().chain([TOPIC_MESSAGE]));
    for (name, old) in &was.messages {
        let Some(new) = is.messages.get(name) else { continue };
        let (sent, received) =
            (requests.contains(name.as_str()), responses.contains(name.as_str()));
        let mut kept = Vec::new();
        for field in &new.descriptor.field {
            let known = old.descriptor.field.iter().find(|other| other.number == field.number);
            if let Some(known) = known {
                kept.push((known.name(), field.name()));
            } else if sent && !accepts_absence(new_rules, name, new, field) {
                let place = format!("{name}.{}", field.name());
                let why = "servers refuse requests of the last release, which lack it";
                findings.add(
                    Level::Major,
                    place,
                    "a field without which a request is invalid was added",
                    why,
                );
            } else if let Some(oneof) = new.oneof(field).filter(|oneof| old.has_oneof(oneof))
                && received
            {
                let what = format!("the outcome {} of `{oneof}` was added", field.name());
                let why = "a client of the last release finds no outcome set";
                findings.add(Level::Major, name, what, why);
            }
        }
        field_rules::compare(
            name,
            (old_rules.message(name), new_rules.message(name)),
            &kept,
            (sent, received),
            findings,
        );
    }
}

fn accepts_absence(
    rules: &Rules,
    name: &str,
    message: &symbols::Message<'_>,
    field: &FieldDescriptorProto,
) -> bool {
    let has_presence = field.proto3_optional()
        || message.oneof(field).is_some()
        || (field.r#type() == Type::Message && field.label() != Label::Repeated);
    rules.message(name).field(field.name()).accept_absence(has_presence)
}

fn without_comments(descriptors: &FileDescriptorSet) -> FileDescriptorSet {
    let mut descriptors = descriptors.clone();
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    descriptors
}
