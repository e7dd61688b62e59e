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
            let found = field_rules(option, &field, Position::Field)?;
            rules.fields.insert(field.name().to_owned(), found);
        }
    }
    for oneof in message.oneofs() {
        let options = oneof.options();
        if options.has_extension(oneof_option)
            && let Value::Message(option) = options.get_extension(oneof_option).as_ref()
        {
            refuse_extensions(option, oneof.full_name())?;
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

/// Where a message `buf.validate.FieldRules` stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    /// On a field.
    Field,
    /// On the items of a list, or the keys or values of a map.
    Item,
}

/// Reads a message `buf.validate.FieldRules`.
fn field_rules(
    option: &DynamicMessage,
    field: &FieldDescriptor,
    position: Position,
) -> Result<FieldRules, RuleError> {
    let mut rules = FieldRules::default();
    let at = field.full_name();
    refuse_extensions(option, at)?;
    for (member, value) in option.fields() {
        let name = member.name();
        let members = Members { option: value, path: name.to_owned(), field };
        match name {
            "required" => rules.required = value.as_bool().unwrap_or_default(),
            "ignore" => {
                rules.ignore = match value.as_enum_number() {
                    Some(0) => Ignore::Never,
                    Some(1) => Ignore::IfZero,
                    Some(3) => Ignore::Always,
                    _ => return Err(unsupported(at, "ignore")),
                }
            }
            "int32" | "int64" => rules.constraint = members.number()?,
            "string" => rules.constraint = members.text()?,
            "bytes" => rules.constraint = members.bytes()?,
            "enum" => rules.constraint = members.enumeration()?,
            "repeated" => rules.constraint = members.list()?,
            "map" => rules.constraint = members.map()?,
            _ => return Err(unsupported(at, name)),
        }
        if !fits(name, field, position) {
            return Err(error(at, format!("the option {name} does not fit the field's type")));
        }
    }
    Ok(rules)
}

/// Returns whether an option has an effect on a field.
fn fits(option: &str, field: &FieldDescriptor, position: Position) -> bool {
    let kind = field.kind();
    let single = field.cardinality() != Cardinality::Repeated;
    let in_oneof = field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic());
    match (option, position) {
        ("map", Position::Field) => field.is_map(),
        ("repeated", Position::Field) => field.is_list(),
        ("required", Position::Field) => single && !in_oneof && matches!(kind, Kind::Message(_)),
        ("ignore", Position::Field) => single && !field.supports_presence(),
        ("map" | "repeated" | "required", Position::Item) => false,
        ("ignore", Position::Item) => true,
        ("enum", Position::Item) => matches!(kind, Kind::Enum(_)),
        ("enum", Position::Field) => single && matches!(kind, Kind::Enum(_)),
        (option, position) => {
            (single || position == Position::Item) && scalar_name(&kind) == Some(option)
        }
    }
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

/// The options of one type, such as `buf.validate.StringRules`.
struct Members<'a> {
    option: &'a Value,
    path: String,
    field: &'a FieldDescriptor,
}

impl Members<'_> {
    fn each(
        &self,
        mut read: impl FnMut(&str, &Value) -> Result<bool, RuleError>,
    ) -> Result<(), RuleError> {
        let at = self.field.full_name();
        let Some(message) = self.option.as_message() else {
            return Err(unsupported(at, &self.path));
        };
        refuse_extensions(message, at)?;
        for (member, value) in message.fields() {
            if !read(member.name(), value)? {
                return Err(unsupported(at, &format!("{}.{}", self.path, member.name())));
            }
        }
        Ok(())
    }

    /// Refuses a range without a number. protovalidate reads it as the numbers outside of it.
    fn checked(&self, bounds: Bounds) -> Result<Bounds, RuleError> {
        match bounds {
            Bounds { min: Some(min), max: Some(max) } if min > max => {
                Err(error(self.field.full_name(), format!("{}: {min} is above {max}", self.path)))
            }
            bounds => Ok(bounds),
        }
    }

    fn integer(&self, value: &Value) -> Result<Option<i64>, RuleError> {
        match value {
            Value::I32(value) => Ok(Some(i64::from(*value))),
            Value::I64(value) => Ok(Some(*value)),
            Value::U64(value) if i64::try_from(*value).is_ok() => Ok(i64::try_from(*value).ok()),
            value => Err(error(
                self.field.full_name(),
                format!("{}: {value:?} is not a number of 64 bits", self.path),
            )),
        }
    }

    fn number(&self) -> Result<Constraint, RuleError> {
        let mut bounds = Bounds::default();
        self.each(|name, value| {
            match name {
                "gte" => bounds.min = self.integer(value)?,
                "lte" => bounds.max = self.integer(value)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Constraint::Number(self.checked(bounds)?))
    }

    fn text(&self) -> Result<Constraint, RuleError> {
        let mut rules = TextRules::default();
        self.each(|name, value| {
            match name {
                "min_len" => rules.length.min = self.integer(value)?,
                "max_len" => rules.length.max = self.integer(value)?,
                "len" => {
                    let length = self.integer(value)?;
                    rules.length = Bounds { min: length, max: length };
                }
                "max_bytes" => rules.max_bytes = self.integer(value)?,
                "pattern" => {
                    let pattern = value.as_str().unwrap_or_default();
                    check_pattern(pattern).map_err(|reason| {
                        error(self.field.full_name(), format!("string.pattern {reason}"))
                    })?;
                    rules.pattern = Some(pattern.to_owned());
                }
                "uuid" if value.as_bool() == Some(true) => rules.format = Some(Format::Uuid),
                "ip" if value.as_bool() == Some(true) => rules.format = Some(Format::Ip),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        self.checked(rules.length)?;
        Ok(Constraint::Text(rules))
    }

    fn bytes(&self) -> Result<Constraint, RuleError> {
        let mut bounds = Bounds::default();
        self.each(|name, value| {
            if name == "max_len" {
                bounds.max = self.integer(value)?;
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
                ("min_items", value) => items.min = self.integer(value)?,
                ("max_items", value) => items.max = self.integer(value)?,
                ("items", Value::Message(option)) => {
                    item = field_rules(option, self.field, Position::Item)?;
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(Constraint::List { items: self.checked(items)?, item: Box::new(item) })
    }

    fn map(&self) -> Result<Constraint, RuleError> {
        let mut pairs = Bounds::default();
        let (mut keys, mut values) = (FieldRules::default(), FieldRules::default());
        let kind = self.field.kind();
        let entry = kind.as_message().filter(|entry| entry.is_map_entry());
        self.each(|name, value| {
            match (name, value, entry) {
                ("min_pairs", value, _) => pairs.min = self.integer(value)?,
                ("max_pairs", value, _) => pairs.max = self.integer(value)?,
                ("keys", Value::Message(option), Some(entry)) => {
                    keys = field_rules(option, &entry.map_entry_key_field(), Position::Item)?;
                }
                ("values", Value::Message(option), Some(entry)) => {
                    values = field_rules(option, &entry.map_entry_value_field(), Position::Item)?;
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let (keys, values) = (Box::new(keys), Box::new(values));
        Ok(Constraint::Map { pairs: self.checked(pairs)?, keys, values })
    }
}

/// Refuses what `regex` and RE2, protovalidate's engine, read differently: Perl classes are of
/// Unicode only in `regex`, which also has operators on classes.
fn check_pattern(pattern: &str) -> Result<(), String> {
    regex::Regex::new(pattern).map_err(|error| format!("is not a regular expression: {error}"))?;
    let perl = "dDwWsSbBpP".chars().map(|class| format!("\\{class}"));
    let operators = ["&&", "--", "~~", "[["].map(str::to_owned);
    match perl.chain(operators).find(|text| pattern.contains(text)) {
        Some(text) => Err(format!("has {text}, which RE2 and Rust read differently; use a class")),
        None => Ok(()),
    }
}

/// Extensions are predefined rules. Unknown fields are options of a newer protovalidate.
fn refuse_extensions(option: &DynamicMessage, at: &str) -> Result<(), RuleError> {
    if let Some((extension, _)) = option.extensions().next() {
        return Err(unsupported(at, &format!("({})", extension.full_name())));
    }
    match option.unknown_fields().next() {
        Some(field) => Err(unsupported(at, &format!("number {}", field.number()))),
        None => Ok(()),
    }
}

fn error(at: &str, reason: String) -> RuleError {
    RuleError { field: at.to_owned(), reason }
}

fn unsupported(at: &str, option: &str) -> RuleError {
    let reason = format!(
        "the option {option} is not supported; use required, ignore, int32.gte, int32.lte, \
         string.len, string.min_len, string.max_len, string.max_bytes, string.pattern, \
         string.uuid, string.ip, bytes.max_len, enum.defined_only, enum.not_in, \
         repeated.min_items, repeated.max_items, repeated.items, map.min_pairs, map.max_pairs, \
         map.keys, map.values or oneof.required, or extend proto-rules"
    );
    error(at, reason)
}
