//! What compiled protos declare, by full name.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
};

use super::rules::Rule;

/// The numbers by which `FileDescriptorProto` and `DescriptorProto` call their parts in the paths
/// of comments.
const FILE_MESSAGE: i32 = 4;
const MESSAGE_FIELD: i32 = 2;
const MESSAGE_MESSAGE: i32 = 3;

/// All messages, enums and services of some files, without the leading dot of the names.
#[derive(Debug, Default)]
pub struct Symbols<'d> {
    /// Messages, nested ones too.
    pub messages: BTreeMap<String, Message<'d>>,
    /// Enums, nested ones too.
    pub enums: BTreeMap<String, &'d EnumDescriptorProto>,
    /// Services.
    pub services: BTreeMap<String, &'d ServiceDescriptorProto>,
    /// The comments in front of fields, by message and field.
    comments: BTreeMap<(String, String), &'d str>,
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'d> {
    /// As it was compiled.
    pub descriptor: &'d DescriptorProto,
}

impl<'d> Message<'d> {
    /// The oneof that a field is in, if it is one that somebody wrote: `optional` makes one, too.
    pub(super) fn oneof(&self, field: &FieldDescriptorProto) -> Option<&'d str> {
        let index =
            usize::try_from(field.oneof_index.filter(|_| !field.proto3_optional())?).ok()?;
        self.descriptor.oneof_decl.get(index).map(|oneof| oneof.name())
    }

    pub(super) fn has_oneof(&self, name: &str) -> bool {
        self.descriptor.field.iter().any(|field| self.oneof(field) == Some(name))
    }

    /// Each with its first number and the one after its last.
    pub(super) fn reserved_numbers(&self) -> impl Iterator<Item = (i32, i32)> {
        self.descriptor.reserved_range.iter().map(|range| (range.start(), range.end()))
    }
}

impl<'d> Symbols<'d> {
    /// Reads all files.
    #[must_use]
    pub fn of(descriptors: &'d FileDescriptorSet) -> Self {
        let mut symbols = Self::default();
        for file in &descriptors.file {
            let comments: BTreeMap<&[i32], &'d str> = file
                .source_code_info
                .iter()
                .flat_map(|info| &info.location)
                .filter_map(|location| {
                    Some((location.path.as_slice(), location.leading_comments.as_deref()?))
                })
                .collect();
            for (index, message) in (0..).zip(&file.message_type) {
                symbols.message(file.package(), message, &[FILE_MESSAGE, index], &comments);
            }
            for declared in &file.enum_type {
                symbols.enums.insert(within(file.package(), declared.name()), declared);
            }
            for service in &file.service {
                symbols.services.insert(within(file.package(), service.name()), service);
            }
        }
        symbols
    }

    fn message(
        &mut self,
        scope: &str,
        descriptor: &'d DescriptorProto,
        path: &[i32],
        comments: &BTreeMap<&[i32], &'d str>,
    ) {
        let name = within(scope, descriptor.name());
        for (index, field) in (0..).zip(&descriptor.field) {
            if let Some(comment) = comments.get([path, &[MESSAGE_FIELD, index]].concat().as_slice())
            {
                self.comments.insert((name.clone(), field.name().to_owned()), comment);
            }
        }
        for (index, nested) in (0..).zip(&descriptor.nested_type) {
            self.message(&name, nested, &[path, &[MESSAGE_MESSAGE, index]].concat(), comments);
        }
        for declared in &descriptor.enum_type {
            self.enums.insert(within(&name, declared.name()), declared);
        }
        self.messages.insert(name, Message { descriptor });
    }

    /// The comment in front of a field.
    #[must_use]
    pub fn comment(&self, message: &str, field: &str) -> Option<&'d str> {
        self.comments.get(&(message.to_owned(), field.to_owned())).copied()
    }

    /// The rule that a field's comment states; where it says "as `User.sid`", that field's.
    #[must_use]
    pub fn rule(&self, message: &str, field: &str) -> Option<Rule> {
        let rule = Rule::read(self.comment(message, field)?)?;
        let Some((other, field)) = rule.like.as_deref().and_then(|like| like.split_once('.'))
        else {
            return Some(rule);
        };
        let scope = message.rsplit_once('.').map_or("", |(scope, _)| scope);
        // One step only: a comment that sends its reader on twice is a bad comment.
        Rule::read(self.comment(&within(scope, other), field)?).filter(|rule| rule.like.is_none())
    }

    /// The messages that clients send.
    pub(super) fn requests(&self) -> impl Iterator<Item = &'d str> {
        self.services
            .values()
            .flat_map(|service| &service.method)
            .map(|method| method.input_type().trim_start_matches('.'))
    }

    /// The messages that servers answer.
    pub(super) fn responses(&self) -> impl Iterator<Item = &'d str> {
        self.services
            .values()
            .flat_map(|service| &service.method)
            .map(|method| method.output_type().trim_start_matches('.'))
    }

    /// Messages and enums that some messages are made of, and those messages.
    pub(super) fn reachable<'n>(
        &'n self,
        from: impl IntoIterator<Item = &'n str>,
    ) -> BTreeSet<&'n str> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&str> = from.into_iter().collect();
        while let Some(name) = open.pop() {
            if found.insert(name)
                && let Some(message) = self.messages.get(name)
            {
                open.extend(
                    message
                        .descriptor
                        .field
                        .iter()
                        .filter_map(|field| field.type_name.as_deref())
                        .map(|name| name.trim_start_matches('.')),
                );
            }
        }
        found
    }
}

fn within(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}
