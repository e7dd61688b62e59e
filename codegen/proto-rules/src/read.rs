//! Reads the options.

use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind,
    MessageDescriptor, Value,
};

use crate::{
    Bounds, Constraint, FieldRules, Format, Ignore, MessageRules, RuleError, Rules, TextRules,
};

const PACKAGE: &str = "buf.validate";

impl Rules {
    /// Reads the rules of compiled files. Files that do not import `buf/validate/validate.proto`
    /// have none.
    ///
    /// # Errors
    /// If an option is not supported, or does not fit the field's type.
    pub fn read(pool: &DescriptorPool) -> Result<Self, RuleError> {
        let mut rules = Self::default();
        let extension = |name| pool.get_extension_by_name(&format!("{PACKAGE}.{name}"));
        let (Some(field), Some(oneof), Some(message)) =
            (extension("field"), extension("oneof"), extension("message"))
        else {
            return Ok(rules);
        };
        for descriptor in pool.all_messages().filter(|message| message.package_name() != PACKAGE) {
            if descriptor.options().has_extension(&message) {
                return Err(unsupported(descriptor.full_name(), "(buf.validate.message)"));
            }
            let found = message_rules(&descriptor, &field, &oneof)?;
            if found != MessageRules::default() {
                rules.messages.insert(descriptor.full_name().to_owned(), found);
            }
        }
        Ok(rules)
    }
}

fn message_rules(
    message: &MessageDescriptor,
    field_option: &ExtensionDescriptor,
    oneof_option: &ExtensionDescriptor,
) -> Result<MessageRules, RuleError> {
    let mut rules = MessageRules::default();
    for field in message.fields() {
        let options = field.options();
        if options.has_extension(field_option)
            && let Value::Message(option) = options.get_extension(field_option).as_ref()
        {
            rules.fields.insert(field.name().to_owned(), field_rules(option, &field)?);
        }
    }
    for oneof in message.oneofs() {
        let options = oneof.options();
        if options.has_extension(oneof_option)
            && let Value::Message(option) = options.get_extension(oneof_option).as_ref()
        {
            for (member, value) in option.fields() {
                match member.name() {
                    "required" if value.as_bool() == Some(true) => {
                        rules.required_oneofs.insert(oneof.name().to_owned());
                    }
                    "required" => {}
                    name => return Err(unsupported(oneof.full_name(), name)),
                }
            }
        }
    }
    Ok(rules)
}

fn field_rules(option: &DynamicMessage, field: &FieldDescriptor) -> Result<FieldRules, RuleError> {
    let name = field.full_name();
    let kind = field.kind();
    let fits = |option: &str| match option {
        "map" => field.is_map(),
        "repeated" => field.is_list(),
        "required" => {
            field.cardinality() != Cardinality::Repeated && matches!(kind, Kind::Message(_))
        }
        _ if field.cardinality() == Cardinality::Repeated => false,
        "enum" => matches!(kind, Kind::Enum(_)),
        _ => scalar_name(&kind) == Some(option),
    };
    let rules = constraint(option, name)?;
    for (member, _) in option.fields().filter(|(member, _)| member.name() != "ignore") {
        if !fits(member.name()) {
            let reason = format!("the option {} does not fit the field's type", member.name());
            return Err(RuleError { field: name.to_owned(), reason });
        }
    }
    Ok(rules)
}

fn scalar_name(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Int32 => Some("int32"),
        Kind::Int64 => Some("int64"),
        Kind::String => Some("string"),
        Kind::Bytes => Some("bytes"),
        _ => None,
    }
}

/// Reads a message `buf.validate.FieldRules`. `at` is the field that it is about.
fn constraint(option: &DynamicMessage, at: &str) -> Result<FieldRules, RuleError> {
    let mut rules = FieldRules::default();
    for (member, value) in option.fields() {
        let of_type = |name: &str| Members { option: value, path: name.to_owned(), at };
        match member.name() {
            "required" => rules.required = value.as_bool().unwrap_or_default(),
            "ignore" => {
                rules.ignore = match value.as_enum_number() {
                    Some(0) => Ignore::Never,
                    Some(1) => Ignore::IfZero,
                    Some(3) => Ignore::Always,
                    _ => return Err(unsupported(at, "ignore")),
                }
            }
            name @ ("int32" | "int64") => rules.constraint = of_type(name).number()?,
            "string" => rules.constraint = of_type("string").text()?,
            "bytes" => rules.constraint = of_type("bytes").bytes()?,
            "enum" => rules.constraint = of_type("enum").enumeration()?,
            "repeated" => rules.constraint = of_type("repeated").list()?,
            "map" => rules.constraint = of_type("map").map()?,
            name => return Err(unsupported(at, name)),
        }
    }
    Ok(rules)
}

/// The options of one type, such as `buf.validate.StringRules`.
struct Members<'a> {
    option: &'a Value,
    path: String,
    at: &'a str,
}

impl Members<'_> {
    fn each(
        &self,
        mut read: impl FnMut(&str, &Value) -> Result<bool, RuleError>,
    ) -> Result<(), RuleError> {
        for (member, value) in self.option.as_message().into_iter().flat_map(|m| m.fields()) {
            if !read(member.name(), value)? {
                return Err(unsupported(self.at, &format!("{}.{}", self.path, member.name())));
            }
        }
        Ok(())
    }

    fn number(&self) -> Result<Constraint, RuleError> {
        let mut bounds = Bounds::default();
        self.each(|name, value| {
            match name {
                "gte" => bounds.min = integer(value),
                "lte" => bounds.max = integer(value),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Constraint::Number(bounds))
    }

    fn text(&self) -> Result<Constraint, RuleError> {
        let mut rules = TextRules::default();
        self.each(|name, value| {
            match name {
                "min_len" => rules.length.min = integer(value),
                "max_len" => rules.length.max = integer(value),
                "len" => rules.length = Bounds { min: integer(value), max: integer(value) },
                "max_bytes" => rules.max_bytes = integer(value),
                "pattern" => {
                    let pattern = value.as_str().unwrap_or_default();
                    regex::Regex::new(pattern).map_err(|error| RuleError {
                        field: self.at.to_owned(),
                        reason: format!("string.pattern is not a regular expression: {error}"),
                    })?;
                    rules.pattern = Some(pattern.to_owned());
                }
                "uuid" if value.as_bool() == Some(true) => rules.format = Some(Format::Uuid),
                "ip" if value.as_bool() == Some(true) => rules.format = Some(Format::Ip),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Constraint::Text(rules))
    }

    fn bytes(&self) -> Result<Constraint, RuleError> {
        let mut bounds = Bounds::default();
        self.each(|name, value| {
            if name == "max_len" {
                bounds.max = integer(value);
            }
            Ok(name == "max_len")
        })?;
        Ok(Constraint::Bytes(bounds))
    }

    fn enumeration(&self) -> Result<Constraint, RuleError> {
        let (mut defined_only, mut not_in) = (false, Vec::new());
        self.each(|name, value| {
            match (name, value) {
                ("defined_only", Value::Bool(value)) => defined_only = *value,
                ("not_in", Value::List(values)) => {
                    not_in = values.iter().filter_map(Value::as_i32).collect();
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Constraint::Enum { defined_only, not_in })
    }

    fn list(&self) -> Result<Constraint, RuleError> {
        let (mut items, mut item) = (Bounds::default(), FieldRules::default());
        self.each(|name, value| {
            match (name, value) {
                ("min_items", value) => items.min = integer(value),
                ("max_items", value) => items.max = integer(value),
                ("items", Value::Message(option)) => item = constraint(option, self.at)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Constraint::List { items, item: Box::new(item) })
    }

    fn map(&self) -> Result<Constraint, RuleError> {
        let mut pairs = Bounds::default();
        let (mut keys, mut values) = (FieldRules::default(), FieldRules::default());
        self.each(|name, value| {
            match (name, value) {
                ("min_pairs", value) => pairs.min = integer(value),
                ("max_pairs", value) => pairs.max = integer(value),
                ("keys", Value::Message(option)) => keys = constraint(option, self.at)?,
                ("values", Value::Message(option)) => values = constraint(option, self.at)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Constraint::Map { pairs, keys: Box::new(keys), values: Box::new(values) })
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::I32(value) => Some(i64::from(*value)),
        Value::I64(value) => Some(*value),
        Value::U64(value) => i64::try_from(*value).ok(),
        _ => None,
    }
}

fn unsupported(at: &str, option: &str) -> RuleError {
    RuleError {
        field: at.to_owned(),
        reason: format!(
            "the option {option} is not supported; use required, ignore, int32.gte, int32.lte, \
             string.len, string.min_len, string.max_len, string.max_bytes, string.pattern, \
             string.uuid, string.ip, bytes.max_len, enum.defined_only, enum.not_in, \
             repeated.min_items, repeated.max_items, repeated.items, map.min_pairs, \
             map.max_pairs, map.keys, map.values or oneof.required, or extend proto-rules"
        ),
    }
}
