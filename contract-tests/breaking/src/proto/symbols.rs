//! The declarations of compiled protos, by full name.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
};

/// Field numbers of `FileDescriptorProto` and `DescriptorProto`, which the paths of comments use.
const FILE_MESSAGE: i32 = 4;
const MESSAGE_FIELD: i32 = 2;
const MESSAGE_MESSAGE: i32 = 3;

/// All messages, enums and services of a set of files. Names have no leading dot.
#[derive(Debug, Default)]
pub struct Symbols<'d> {
    /// Messages, including nested ones.
    pub messages: BTreeMap<String, Message<'d>>,
    /// Enums, including nested ones.
    pub enums: BTreeMap<String, &'d EnumDescriptorProto>,
    /// Services.
    pub services: BTreeMap<String, &'d ServiceDescriptorProto>,
    /// Leading comments of fields, by message and field.
    comments: BTreeMap<(String, String), &'d str>,
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'d> {
    /// The compiled message.
    pub descriptor: &'d DescriptorProto,
}

impl<'d> Message<'d> {
    /// Returns the declared oneof of a field. `optional` makes a synthetic one, which does not count.
    pub(super) fn oneof(&self, field: &FieldDescriptorProto) -> Option<&'d str> {
        let index =
            usize::try_from(field.oneof_index.filter(|_| !field.proto3_optional())?).ok()?;
        self.descriptor.oneof_decl.get(index).map(|oneof| oneof.name())
    }

    pub(super) fn has_oneof(&self, name: &str) -> bool {
        self.descriptor.field.iter().any(|field| self.oneof(field) == Some(name))
    }
}

impl<'d> Symbols<'d> {
    /// Collects the declarations of all files.
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

    /// Returns the leading comment of a field.
    #[must_use]
    pub fn comment(&self, message: &str, field: &str) -> Option<&'d str> {
        self.comments.get(&(message.to_owned(), field.to_owned())).copied()
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = &'d str> {
        self.services
            .values()
            .flat_map(|service| &service.method)
            .map(|method| method.input_type().trim_start_matches('.'))
    }

    pub(super) fn responses(&self) -> impl Iterator<Item = &'d str> {
        self.services
            .values()
            .flat_map(|service| &service.method)
            .map(|method| method.output_type().trim_start_matches('.'))
    }

    /// Returns the full names of all messages, fields, enums, values, services and methods.
    pub(super) fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut add = |owner: &String, members: Vec<&str>| {
            names.extend(members.into_iter().map(|member| within(owner, member)));
            names.insert(owner.clone());
        };
        for (name, message) in &self.messages {
            add(name, message.descriptor.field.iter().map(|field| field.name()).collect());
        }
        for (name, declared) in &self.enums {
            add(name, declared.value.iter().map(|value| value.name()).collect());
        }
        for (name, service) in &self.services {
            add(name, service.method.iter().map(|method| method.name()).collect());
        }
        names
    }

    /// Returns some messages, and the messages and enums that they contain.
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
