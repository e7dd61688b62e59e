//! Generates the checks.

use std::collections::BTreeMap;

use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use proc_macro2::{Ident, Literal, Span, TokenStream};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor};
use quote::{format_ident, quote};

use crate::{
    Bounds, Constraint, FieldRules, Format, Ignore, MessageRules, RuleError, Rules, TextRules,
    expected::{alternatives, expected},
};

const TIMESTAMP: &str = "google.protobuf.Timestamp";

/// Generates a Rust module that implements `crate::validation::Validate` for each message that a
/// request of a service contains.
///
/// `module` returns the Rust path of a package's module, for example `super::logging::v1`. The
/// messages are those of prost.
///
/// # Errors
/// If a message is in a package without a module (other than `Timestamp`).
pub fn generate(
    pool: &DescriptorPool,
    rules: &Rules,
    module: impl Fn(&str) -> Option<String>,
) -> Result<String, RuleError> {
    let mut generator = Generator { rules, module: &module, patterns: Vec::new() };
    let mut implementations = Vec::new();
    for message in request_messages(pool).values() {
        implementations.push(generator.message(message)?);
    }
    let patterns = generator.patterns.iter().enumerate().map(|(index, pattern)| {
        let name = pattern_name(index);
        quote!(static #name: LazyLock<Regex> = LazyLock::new(|| regex(#pattern));)
    });
    let file = quote! {
        use std::sync::LazyLock;
        use regex::Regex;
        use crate::validation::{
            Validate, Violations, has_length, is_ip, is_timestamp, is_uuid, regex,
        };

        #(#patterns)*
        #(#implementations)*
    };
    let file: syn::File = syn::parse2(file).expect("the generated tokens are a Rust file");
    Ok(prettyplease::unparse(&file))
}

/// Returns the messages that requests contain, by full name.
fn request_messages(pool: &DescriptorPool) -> BTreeMap<String, MessageDescriptor> {
    let mut found = BTreeMap::new();
    let mut open: Vec<MessageDescriptor> = pool
        .services()
        .flat_map(|service| service.methods().map(|m| m.input()).collect::<Vec<_>>())
        .collect();
    while let Some(message) = open.pop() {
        if message.full_name() == TIMESTAMP || found.contains_key(message.full_name()) {
            continue;
        }
        open.extend(message.fields().filter(|field| !field.is_map()).filter_map(|field| {
            match field.kind() {
                Kind::Message(message) => Some(message),
                _ => None,
            }
        }));
        found.insert(message.full_name().to_owned(), message);
    }
    found
}

struct Generator<'a> {
    rules: &'a Rules,
    module: &'a dyn Fn(&str) -> Option<String>,
    /// The patterns that the checks use. Their statics are named by index.
    patterns: Vec<String>,
}

/// Expressions for a value: a reference, the receiver of a method, and a copy of a number.
struct Place {
    by_ref: TokenStream,
    receiver: TokenStream,
    copied: TokenStream,
}

impl Place {
    fn member(name: &Ident) -> Self {
        Self {
            by_ref: quote!(&self.#name),
            receiver: quote!(self.#name),
            copied: quote!(self.#name),
        }
    }

    fn bound() -> Self {
        Self { by_ref: quote!(value), receiver: quote!(value), copied: quote!(*value) }
    }
}

impl Generator<'_> {
    fn message(&mut self, message: &MessageDescriptor) -> Result<TokenStream, RuleError> {
        let path = self.path(message)?;
        let rules = self.rules.message(message.full_name());
        let mut checks = Vec::new();
        let mut seen = Vec::new();
        for field in message.fields() {
            supported(&field)?;
            match field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
                Some(oneof) if seen.contains(&oneof) => {}
                Some(oneof) => {
                    checks.push(self.oneof(message, &oneof, rules)?);
                    seen.push(oneof);
                }
                None => checks.push(self.member(&field, rules)),
            }
        }
        Ok(quote! {
            impl Validate for #path {
                fn check(&self, violations: &mut Violations) {
                    #(#checks)*
                }
            }
        })
    }

    fn member(&mut self, field: &FieldDescriptor, rules: &MessageRules) -> TokenStream {
        let rules = rules.field(field.name());
        let (name, member) = (field.name(), ident(field.name()));
        if field.is_list() || field.is_map() {
            return self.container(field, rules);
        }
        match field.kind() {
            Kind::Message(message) if message.full_name() == TIMESTAMP => {
                let valid = if rules.required {
                    quote!(self.#member.as_ref().is_some_and(is_timestamp))
                } else {
                    quote!(self.#member.as_ref().is_none_or(is_timestamp))
                };
                quote!(violations.require(#name, #valid, "a time in the years 0001 to 9999");)
            }
            Kind::Message(_) => {
                let required = rules.required;
                quote!(violations.check_message(#name, self.#member.as_ref(), #required);)
            }
            _ if field.field_descriptor_proto().proto3_optional() => {
                match self.scalar(field, rules, &Place::bound()) {
                    Some(check) => quote!(if let Some(value) = &self.#member { #check }),
                    None => TokenStream::new(),
                }
            }
            _ => self.scalar(field, rules, &Place::member(&member)).unwrap_or_default(),
        }
    }

    fn oneof(
        &mut self,
        message: &MessageDescriptor,
        oneof: &OneofDescriptor,
        rules: &MessageRules,
    ) -> Result<TokenStream, RuleError> {
        let member = ident(oneof.name());
        let outer = self.package_module(message)?;
        let inner = ident(&message.name().to_snake_case());
        let choice = type_ident(oneof.name());
        let mut arms = Vec::new();
        for field in oneof.fields() {
            let rules = rules.field(field.name());
            let name = field.name();
            let variant = type_ident(name);
            let check = match field.kind() {
                Kind::Message(_) => {
                    Some(quote!(violations.check_message(#name, Some(value), true);))
                }
                _ => self.scalar(&field, rules, &Place::bound()),
            };
            let value = if check.is_some() { quote!(value) } else { quote!(_) };
            let variant = quote!(#outer::#inner::#choice::#variant);
            arms.push(quote!(Some(#variant(#value)) => { #check }));
        }
        let unset = rules.required_oneofs.contains(oneof.name()).then(|| {
            let names: Vec<String> = oneof.fields().map(|field| field.name().to_owned()).collect();
            let name = oneof.name();
            let expected =
                format!("exactly one of {}", alternatives(&names).replace(" or ", " and "));
            quote!(violations.require(#name, false, #expected);)
        });
        Ok(quote!(match &self.#member { #(#arms)* None => { #unset } }))
    }

    fn scalar(
        &mut self,
        field: &FieldDescriptor,
        rules: &FieldRules,
        place: &Place,
    ) -> Option<TokenStream> {
        let condition = self.condition(field, rules, place)?;
        let (name, expected) = (field.name(), expected(rules, field));
        Some(quote!(violations.require(#name, #condition, #expected);))
    }

    /// Generates the checks of a `repeated` or `map` field. Items are checked only if their number
    /// is valid, so that a large request costs no more than a valid one.
    fn container(&mut self, field: &FieldDescriptor, rules: &FieldRules) -> TokenStream {
        let (name, member) = (field.name(), ident(field.name()));
        let expected = expected(rules, field);
        let (bounds, each) = match &rules.constraint {
            Constraint::List { items, item } => (*items, self.items(field, item)),
            Constraint::Map { pairs, keys, values } => {
                let Kind::Message(entry) = field.kind() else { return TokenStream::new() };
                let mut all = |rules: &FieldRules, part: FieldDescriptor, iterator: &str| {
                    let condition = self.condition(&part, rules, &Place::bound())?;
                    let expected = format!("{iterator}, each {}", self::expected(rules, &part));
                    let iterator = format_ident!("{iterator}");
                    Some(quote! {
                        violations.require(
                            #name,
                            self.#member.#iterator().all(|value| #condition),
                            #expected,
                        );
                    })
                };
                let keys = all(keys, entry.map_entry_key_field(), "keys");
                let values = all(values, entry.map_entry_value_field(), "values");
                (*pairs, quote!(#keys #values))
            }
            _ if field.is_map() => return TokenStream::new(),
            _ => (Bounds::default(), self.items(field, &FieldRules::default())),
        };
        let Some(range) = within(bounds) else { return each };
        let number =
            quote!(violations.require(#name, (#range).contains(&self.#member.len()), #expected));
        if each.is_empty() { quote!(#number;) } else { quote!(if #number { #each }) }
    }

    fn items(&mut self, field: &FieldDescriptor, item: &FieldRules) -> TokenStream {
        let (name, member) = (field.name(), ident(field.name()));
        if item.ignore == Ignore::Always {
            return TokenStream::new();
        }
        match field.kind() {
            Kind::Message(_) => quote!(violations.check_items(#name, &self.#member);),
            _ => match self.condition(field, item, &Place::bound()) {
                Some(condition) => {
                    let expected = format!("items, each {}", expected(item, field));
                    quote! {
                        violations.require(
                            #name,
                            self.#member.iter().all(|value| #condition),
                            #expected,
                        );
                    }
                }
                None => TokenStream::new(),
            },
        }
    }

    /// Generates the condition of a valid value. Returns nothing if all values are valid.
    fn condition(
        &mut self,
        field: &FieldDescriptor,
        rules: &FieldRules,
        place: &Place,
    ) -> Option<TokenStream> {
        let Place { by_ref, receiver, copied } = place;
        let mut conditions = Vec::new();
        let mut zero = quote!(#copied == 0);
        match &rules.constraint {
            Constraint::Number(bounds) => {
                conditions.extend(within(*bounds).map(|range| quote!((#range).contains(#by_ref))));
            }
            Constraint::Text(rules) => {
                zero = quote!(#receiver.is_empty());
                self.text(rules, place, &mut conditions);
            }
            Constraint::Bytes(bounds) => {
                zero = quote!(#receiver.is_empty());
                conditions.extend(
                    within(*bounds).map(|range| quote!((#range).contains(&#receiver.len()))),
                );
            }
            Constraint::Enum { defined_only, not_in } => {
                if *defined_only && let Kind::Enum(declared) = field.kind() {
                    let numbers = declared.values().map(|value| value.number());
                    let numbers = numbers
                        .filter(|number| !not_in.contains(number))
                        .map(Literal::i32_unsuffixed);
                    conditions.push(quote!(matches!(#copied, #(#numbers)|*)));
                } else if !not_in.is_empty() {
                    let numbers = not_in.iter().copied().map(Literal::i32_unsuffixed);
                    conditions.push(quote!(!matches!(#copied, #(#numbers)|*)));
                }
            }
            Constraint::Any | Constraint::List { .. } | Constraint::Map { .. } => {}
        }
        if conditions.is_empty() {
            return None;
        }
        let all = quote!(#(#conditions)&&*);
        match rules.ignore {
            Ignore::Never => Some(all),
            Ignore::IfZero if conditions.len() == 1 => Some(quote!(#zero || #all)),
            Ignore::IfZero => Some(quote!(#zero || (#all))),
            Ignore::Always => None,
        }
    }

    fn text(&mut self, rules: &TextRules, place: &Place, conditions: &mut Vec<TokenStream>) {
        let Place { by_ref, receiver, copied: _ } = place;
        conditions.extend(within(rules.length).map(|range| quote!(has_length(#by_ref, #range))));
        conditions.extend(rules.max_bytes.map(|max| {
            let max = Literal::i64_unsuffixed(max);
            quote!(#receiver.len() <= #max)
        }));
        conditions.extend(rules.format.map(|format| match format {
            Format::Uuid => quote!(is_uuid(#by_ref)),
            Format::Ip => quote!(is_ip(#by_ref)),
        }));
        conditions.extend(rules.pattern.as_ref().map(|pattern| {
            let known = self.patterns.iter().position(|known| known == pattern);
            let name = pattern_name(known.unwrap_or_else(|| {
                self.patterns.push(pattern.clone());
                self.patterns.len() - 1
            }));
            quote!(#name.is_match(#by_ref))
        }));
    }

    fn path(&self, message: &MessageDescriptor) -> Result<TokenStream, RuleError> {
        let module = self.package_module(message)?;
        let name = type_ident(message.name());
        Ok(quote!(#module::#name))
    }

    fn package_module(&self, message: &MessageDescriptor) -> Result<TokenStream, RuleError> {
        let error = |reason: &str| RuleError {
            field: message.full_name().to_owned(),
            reason: reason.to_owned(),
        };
        if message.parent_message().is_some() {
            return Err(error("nested messages in requests are not supported; move it out"));
        }
        let module = (self.module)(message.package_name()).ok_or_else(|| {
            error("the package has no Rust module; use Timestamp or a message of this repository")
        })?;
        Ok(module.parse().expect("the module's path is Rust"))
    }
}

/// Refuses fields whose messages the checks would not reach.
fn supported(field: &FieldDescriptor) -> Result<(), RuleError> {
    let Kind::Message(message) = field.kind() else { return Ok(()) };
    let in_oneof = field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic());
    let reason = if field.is_map() {
        let value = message.map_entry_value_field();
        if !matches!(value.kind(), Kind::Message(_)) {
            return Ok(());
        }
        "a map of messages is not supported in requests; use a repeated message"
    } else if message.full_name() == TIMESTAMP && (field.is_list() || in_oneof) {
        "a Timestamp in a list or a oneof is not supported in requests; put it into a message"
    } else {
        return Ok(());
    };
    Err(RuleError { field: field.full_name().to_owned(), reason: reason.to_owned() })
}

/// Returns a range, or nothing if the bounds allow all values.
fn within(bounds: Bounds) -> Option<TokenStream> {
    let (min, max) =
        (bounds.min.map(Literal::i64_unsuffixed), bounds.max.map(Literal::i64_unsuffixed));
    match (min, max) {
        (None, None) => None,
        (Some(min), None) => Some(quote!(#min..)),
        (min, Some(max)) => Some(quote!(#min..=#max)),
    }
}

fn pattern_name(index: usize) -> Ident {
    format_ident!("PATTERN_{}", index + 1)
}

/// Returns prost's identifier for a name in snake case.
fn ident(name: &str) -> Ident {
    match name {
        "_" | "self" | "Self" | "super" | "extern" | "crate" => format_ident!("{name}_"),
        _ => syn::parse_str(name).unwrap_or_else(|_| Ident::new_raw(name, Span::call_site())),
    }
}

/// Returns prost's identifier of a type or variant.
fn type_ident(name: &str) -> Ident {
    match name.to_upper_camel_case() {
        name if name == "Self" => format_ident!("Self_"),
        name if name.starts_with(|first: char| first.is_ascii_digit()) => format_ident!("_{name}"),
        name if name.is_empty() => format_ident!("__"),
        name => format_ident!("{name}"),
    }
}
