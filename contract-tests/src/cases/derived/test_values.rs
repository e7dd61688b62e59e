//! Values at the bounds of a schema, just beyond them, and values that the schema leaves open.

use serde_json::{Value, json};

use super::{
    strings::{self, Style},
    validator::{SchemaValidator, integer_bounds},
};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct TestValue {
    /// Follows a member's name: "one over its maximum".
    pub(super) what: String,
    /// JSON; not always as `serde_json` writes it.
    pub(super) text: String,
}

impl TestValue {
    fn of(what: impl Into<String>, value: &Value) -> Self {
        Self { what: what.into(), text: value.to_string() }
    }

    fn written(what: impl Into<String>, text: impl Into<String>) -> Self {
        Self { what: what.into(), text: text.into() }
    }

    /// The content of a string; the JSON of any other value.
    pub(super) fn plain(&self) -> String {
        match serde_json::from_str(&self.text) {
            Ok(Value::String(text)) => text,
            Ok(_) | Err(_) => self.text.clone(),
        }
    }

    /// Whether a parser may reject the value before it has a position: RFC 8259 §6 lets parsers
    /// limit numbers.
    pub(super) fn may_be_unreadable(&self) -> bool {
        serde_json::from_str::<Value>(&self.text).is_err()
    }

    /// The string, if it is long enough to be recognized in a response.
    pub(super) fn canary(&self) -> Option<String> {
        const MIN_CANARY: usize = 12;
        serde_json::from_str::<String>(&self.text)
            .ok()
            .filter(|text| text.chars().count() >= MIN_CANARY)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct TestValues {
    /// The schema allows these.
    pub(super) valid: Vec<TestValue>,
    /// The schema forbids these.
    pub(super) invalid: Vec<TestValue>,
    /// The document leaves these open.
    pub(super) unspecified: Vec<TestValue>,
}

pub(super) fn of(validator: SchemaValidator<'_>, schema: &Value) -> TestValues {
    let mut tried = ValuesBuilder {
        validator,
        schema,
        allows: Box::new(validator.over(schema)),
        test_values: TestValues::default(),
    };
    match schema["type"].as_str() {
        Some("string") => tried.strings(),
        Some("integer") => tried.integers(),
        Some("number") => tried.numbers(),
        Some("array") => tried.arrays(),
        Some(_) | None => {}
    }
    tried.enumerated();
    tried.types();
    tried.test_values
}

struct ValuesBuilder<'a> {
    validator: SchemaValidator<'a>,
    schema: &'a Value,
    allows: Box<dyn Fn(&Value) -> bool>,
    test_values: TestValues,
}

impl ValuesBuilder<'_> {
    fn valid(&mut self, what: impl Into<String>, value: &Value) {
        if (self.allows)(value) {
            let test_value = TestValue::of(what, value);
            if !self.test_values.valid.iter().any(|other| other.text == test_value.text) {
                self.test_values.valid.push(test_value);
            }
        }
    }

    fn invalid(&mut self, what: impl Into<String>, value: &Value) {
        if !(self.allows)(value) {
            let test_value = TestValue::of(what, value);
            if !self.test_values.invalid.iter().any(|other| other.text == test_value.text) {
                self.test_values.invalid.push(test_value);
            }
        }
    }

    fn strings(&mut self) {
        let schema = self.schema;
        let (least, greatest) = strings::lengths(schema);
        let of_length = |length, style| strings::of_length(self.validator, schema, length, style);
        let at_least = [of_length(least, Style::Plain), of_length(least, Style::Wide)];
        let greatest = greatest.filter(|greatest| *greatest <= strings::MAX_LENGTH);
        let at_most = greatest
            .map(|greatest| [of_length(greatest, Style::Plain), of_length(greatest, Style::Wide)])
            .unwrap_or_default();
        let valid_string = strings::fresh(self.validator, schema)
            .or_else(|| schema["example"].as_str().map(str::to_owned));

        for text in at_least.iter().flatten() {
            let kind = wide(text);
            if least > 0 {
                self.valid(format!("at its minimum length of {least}{kind}"), &json!(text));
                let shorter: String = text.chars().skip(1).collect();
                self.invalid(
                    format!("one shorter than its minimum length of {least}{kind}"),
                    &json!(shorter),
                );
            }
        }
        for (text, greatest) in at_most.iter().flatten().zip(greatest.into_iter().cycle()) {
            let kind = wide(text);
            self.valid(format!("at its maximum length of {greatest}{kind}"), &json!(text));
            self.invalid(
                format!("one longer than its maximum length of {greatest}{kind}"),
                &json!(longer(text, 1)),
            );
            if greatest <= 1_000 {
                self.invalid(
                    format!("ten times its maximum length of {greatest}{kind}"),
                    &json!(longer(text, greatest * 9)),
                );
            }
        }
        self.invalid("an empty string", &json!(""));
        let Some(valid) = valid_string else { return };
        for (what, text) in strings::breaking_the_pattern(self.validator, schema, &valid) {
            self.invalid(format!("violates its pattern: {what}"), &json!(text));
        }
        if let Some(format) = schema["format"].as_str() {
            for (what, text) in strings::breaking_the_format(format, &valid) {
                self.invalid(format!("not a valid {format}: {what}"), &json!(text));
            }
            if format == "uuid" {
                for (what, text) in strings::other_spellings_of_a_uuid(&valid) {
                    self.test_values
                        .unspecified
                        .push(TestValue::of(format!("a UUID {what}"), &json!(text)));
                }
            }
        }
    }

    fn integers(&mut self) {
        let least = self
            .bound("minimum", "exclusiveMinimum", 1)
            .max(integer_bounds(self.schema).map(|(least, _)| least.into()));
        let format_most = integer_bounds(self.schema).map(|(_, most)| i128::from(most));
        let most = match (self.bound("maximum", "exclusiveMaximum", -1), format_most) {
            (Some(bound), Some(format)) => Some(bound.min(format)),
            (bound, format) => bound.or(format),
        };
        let step = self.schema["multipleOf"].as_i64().map_or(1, i128::from);
        if let Some(least) = least {
            self.add_invalid_integer("one under its minimum", least - 1);
            self.add_valid_integer("at its minimum", least);
            self.add_valid_integer("just over its minimum", least + step);
            self.add_invalid_integer("far under its minimum", i128::from(i64::MIN));
        }
        if let Some(most) = most {
            self.add_valid_integer("just under its maximum", most - step);
            self.add_valid_integer("at its maximum", most);
            self.add_invalid_integer("one over its maximum", most + 1);
            self.add_invalid_integer("past 32 bits", i128::from(i32::MAX) + 1);
            self.add_invalid_integer("past unsigned 32 bits", i128::from(u32::MAX) + 2);
            self.add_invalid_integer("past 64 bits", i128::from(i64::MAX) + 1);
            // They fit no integer type and must not wrap around.
            self.test_values
                .invalid
                .push(TestValue::written("past unsigned 64 bits", "18446744073709551617"));
            self.test_values
                .invalid
                .push(TestValue::written("past any floating point number", "1e400"));
        }
        self.invalid("with a fraction", &json!(1.5));
        let Some(valid) = self.valid_integer_in_bounds(least, most, step) else { return };
        // Not integers in OpenAPI 3.0, but integers in later JSON Schema.
        self.test_values
            .unspecified
            .push(TestValue::written("written with a fraction of zero", format!("{valid}.0")));
        self.test_values
            .unspecified
            .push(TestValue::written("written with an exponent", format!("{valid}e0")));
        self.invalid("in quotes", &json!(valid.to_string()));
    }

    /// The nearest allowed integer at a bound.
    fn bound(&self, keyword: &str, exclusive: &str, inwards: i128) -> Option<i128> {
        let bound = self.schema[keyword].as_i64()?;
        Some(i128::from(bound) + if self.schema[exclusive] == true { inwards } else { 0 })
    }

    fn valid_integer_in_bounds(
        &self,
        least: Option<i128>,
        most: Option<i128>,
        step: i128,
    ) -> Option<i64> {
        let candidates =
            [Some(1), least, most, least.map(|least| least + step)].into_iter().flatten();
        let allowed = |candidate: &i64| (self.allows)(&json!(candidate));
        candidates.filter_map(|candidate| i64::try_from(candidate).ok()).find(allowed)
    }

    fn add_valid_integer(&mut self, what: &str, number: i128) {
        if let Ok(number) = i64::try_from(number) {
            self.valid(what, &json!(number));
        }
    }

    fn add_invalid_integer(&mut self, what: &str, number: i128) {
        if let Ok(number) = i64::try_from(number) {
            self.invalid(format!("{what}: {number}"), &json!(number));
        } else if let Ok(number) = u64::try_from(number) {
            self.invalid(format!("{what}: {number}"), &json!(number));
        }
    }

    fn numbers(&mut self) {
        for (keyword, outwards) in [("minimum", -1.0), ("maximum", 1.0)] {
            let Some(bound) = self.schema[keyword].as_f64() else { continue };
            self.valid(format!("at its {keyword}"), &json!(bound));
            self.valid(format!("within its {keyword}"), &json!(bound - outwards / 4.0));
            self.invalid(format!("past its {keyword}"), &json!(bound + outwards / 4.0));
            self.invalid(format!("at its exclusive {keyword}"), &json!(bound));
        }
        self.invalid("in quotes", &json!("1"));
    }

    fn arrays(&mut self) {
        let bound = |keyword: &str| {
            self.schema[keyword].as_u64().and_then(|bound| usize::try_from(bound).ok())
        };
        let (least, most) =
            (bound("minItems"), bound("maxItems").filter(|most| *most <= strings::MAX_LENGTH));
        let Some(example) = self.schema["example"]
            .as_array()
            .and_then(|items| items.first())
            .cloned()
            .or_else(|| some_item(self.validator, self.schema))
        else {
            return;
        };
        let of = self.validator.resolve(&self.schema["items"]);
        let items = |count: usize| {
            Value::Array(
                (0..count)
                    .map(|at| if at == 0 { example.clone() } else { another(of, &example, at) })
                    .collect(),
            )
        };
        if let Some(least) = least {
            self.valid(format!("at its minimum of {least} items"), &items(least));
            if least > 0 {
                self.invalid(format!("one item under its minimum of {least}"), &items(least - 1));
            }
        }
        if let Some(most) = most {
            self.valid(format!("at its maximum of {most} items"), &items(most));
            self.invalid(format!("one item over its maximum of {most}"), &items(most + 1));
        }
        if self.schema["uniqueItems"] == true {
            self.invalid("an item twice", &json!([example, example]));
        }
    }

    fn enumerated(&mut self) {
        let Some(values) = self.schema["enum"].as_array() else { return };
        for value in values {
            self.valid(format!("the value {value}"), value);
        }
        if let Some(first) = values.iter().find_map(Value::as_str) {
            self.invalid("a value outside of its enum", &json!("none-of-them"));
            self.invalid("a value of its enum in upper case", &json!(first.to_uppercase()));
            self.invalid("a value of its enum with a trailing space", &json!(format!("{first} ")));
        }
    }

    fn types(&mut self) {
        if self.schema["type"].is_null() {
            return;
        }
        for (what, value) in [
            ("null", Value::Null),
            ("a boolean", json!(true)),
            ("a number", json!(12_345_678)),
            ("a number with a fraction", json!(12_345.5)),
            ("a text", json!("correct horse")),
            ("an array", json!([])),
            ("an array of one value", json!([self.schema["example"]])),
            ("an object", json!({})),
        ] {
            let kind = match &value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(number) if number.is_i64() => "integer",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            if self.schema["type"] != kind {
                self.invalid(format!("{what} instead of its type"), &value);
            }
        }
        if self.schema["nullable"] == true {
            self.valid("null", &Value::Null);
        }
        if self.schema["type"] == "boolean" {
            self.valid("true", &json!(true));
            self.valid("false", &json!(false));
            self.invalid("true in quotes", &json!("true"));
            self.invalid("0", &json!(0));
        }
    }
}

/// " (in characters of several bytes)" for a text that has some.
fn wide(text: &str) -> &'static str {
    if text.is_ascii() { "" } else { ", in characters of several bytes" }
}

fn longer(text: &str, by: usize) -> String {
    let last = text.chars().last().unwrap_or('a');
    text.chars().chain(std::iter::repeat_n(last, by)).collect()
}

fn some_item(validator: SchemaValidator<'_>, schema: &Value) -> Option<Value> {
    let items = validator.resolve(&schema["items"]);
    let candidates = [
        items["enum"][0].clone(),
        items["example"].clone(),
        strings::fresh(validator, items).map_or(Value::Null, Value::from),
        json!(1),
    ];
    candidates.into_iter().find(|item| validator.allows(items, item))
}

/// An item that differs from `item` if items must be unique.
fn another(schema: &Value, item: &Value, at: usize) -> Value {
    if let Some(value) = schema["enum"].get(at) {
        return value.clone();
    }
    match (item.as_i64(), item.as_str()) {
        (Some(number), _) => json!(number + i64::try_from(at).unwrap_or(0)),
        (None, Some(text)) => {
            let mut changed: Vec<char> = text.chars().collect();
            let alphabet: Vec<char> = ('a'..='z').collect();
            if let Some(last) = changed.last_mut() {
                *last = alphabet[at % alphabet.len()];
            }
            json!(changed.into_iter().collect::<String>())
        }
        (None, None) => item.clone(),
    }
}
