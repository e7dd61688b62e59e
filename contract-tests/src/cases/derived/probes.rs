//! Values that a schema allows at its very bounds, values that it just does not allow, and values
//! about which it says nothing.

use serde_json::{Value, json};

use super::{
    judge::{Judge, integer_bounds},
    strings::{self, Style},
};

/// A value and why it is sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Probe {
    /// What it is, to stand behind a member's name: "one over its maximum".
    pub(super) what: String,
    /// As JSON; not always as `serde_json` would write it.
    pub(super) text: String,
}

impl Probe {
    fn of(what: impl Into<String>, value: &Value) -> Self {
        Self { what: what.into(), text: value.to_string() }
    }

    fn written(what: impl Into<String>, text: impl Into<String>) -> Self {
        Self { what: what.into(), text: text.into() }
    }

    /// The text of a string; of anything else how JSON writes it.
    pub(super) fn plain(&self) -> String {
        match serde_json::from_str(&self.text) {
            Ok(Value::String(text)) => text,
            Ok(_) | Err(_) => self.text.clone(),
        }
    }

    /// Whether readers of JSON may refuse it before anybody knows where it stands: RFC 8259 §6 lets
    /// them bound numbers.
    pub(super) fn may_be_unreadable(&self) -> bool {
        serde_json::from_str::<Value>(&self.text).is_err()
    }

    /// The text, if it is a string that is long enough to be recognised wherever it comes up again.
    pub(super) fn telltale(&self) -> Option<String> {
        const RECOGNISABLE: usize = 12;
        serde_json::from_str::<String>(&self.text)
            .ok()
            .filter(|text| text.chars().count() >= RECOGNISABLE)
    }
}

/// The values to try with a schema.
#[derive(Clone, Debug, Default)]
pub(super) struct Probes {
    /// The schema allows each of them.
    pub(super) good: Vec<Probe>,
    /// The schema allows none of them.
    pub(super) bad: Vec<Probe>,
    /// Servers may take them or not: the document leaves it open.
    pub(super) open: Vec<Probe>,
}

/// The values to try with a schema, which is none that refers to another.
pub(super) fn of(judge: Judge<'_>, schema: &Value) -> Probes {
    let mut tried =
        Tried { judge, schema, allows: Box::new(judge.over(schema)), probes: Probes::default() };
    match schema["type"].as_str() {
        Some("string") => tried.strings(),
        Some("integer") => tried.integers(),
        Some("number") => tried.numbers(),
        Some("array") => tried.arrays(),
        Some(_) | None => {}
    }
    tried.enumerated();
    tried.types();
    tried.probes
}

struct Tried<'a> {
    judge: Judge<'a>,
    schema: &'a Value,
    /// Whether the schema allows a value.
    allows: Box<dyn Fn(&Value) -> bool>,
    probes: Probes,
}

impl Tried<'_> {
    /// Kept only if the schema does allow it.
    fn good(&mut self, what: impl Into<String>, value: &Value) {
        if (self.allows)(value) {
            let probe = Probe::of(what, value);
            if !self.probes.good.iter().any(|other| other.text == probe.text) {
                self.probes.good.push(probe);
            }
        }
    }

    /// Kept only if the schema does not allow it.
    fn bad(&mut self, what: impl Into<String>, value: &Value) {
        if !(self.allows)(value) {
            let probe = Probe::of(what, value);
            if !self.probes.bad.iter().any(|other| other.text == probe.text) {
                self.probes.bad.push(probe);
            }
        }
    }

    fn strings(&mut self) {
        let schema = self.schema;
        let (least, greatest) = strings::lengths(schema);
        let of_length = |length, style| strings::of_length(self.judge, schema, length, style);
        let at_least = [of_length(least, Style::Plain), of_length(least, Style::Wide)];
        let greatest = greatest.filter(|greatest| *greatest <= strings::LONGEST);
        let at_most = greatest
            .map(|greatest| [of_length(greatest, Style::Plain), of_length(greatest, Style::Wide)])
            .unwrap_or_default();
        let a_good_one = strings::fresh(self.judge, schema)
            .or_else(|| schema["example"].as_str().map(str::to_owned));

        for text in at_least.iter().flatten() {
            let kind = wide(text);
            if least > 0 {
                self.good(format!("at its minimum length of {least}{kind}"), &json!(text));
                let shorter: String = text.chars().skip(1).collect();
                self.bad(
                    format!("one shorter than its minimum length of {least}{kind}"),
                    &json!(shorter),
                );
            }
        }
        for (text, greatest) in at_most.iter().flatten().zip(greatest.into_iter().cycle()) {
            let kind = wide(text);
            self.good(format!("at its maximum length of {greatest}{kind}"), &json!(text));
            self.bad(
                format!("one longer than its maximum length of {greatest}{kind}"),
                &json!(longer(text, 1)),
            );
            if greatest <= 1_000 {
                self.bad(
                    format!("ten times its maximum length of {greatest}{kind}"),
                    &json!(longer(text, greatest * 9)),
                );
            }
        }
        self.bad("an empty text", &json!(""));
        let Some(good) = a_good_one else { return };
        for (what, text) in strings::breaking_the_pattern(self.judge, schema, &good) {
            self.bad(format!("against its pattern, {what}"), &json!(text));
        }
        if let Some(format) = schema["format"].as_str() {
            for (what, text) in strings::breaking_the_format(format, &good) {
                self.bad(format!("no {format}: {what}"), &json!(text));
            }
            if format == "uuid" {
                for (what, text) in strings::other_spellings_of_a_uuid(&good) {
                    self.probes.open.push(Probe::of(format!("a UUID {what}"), &json!(text)));
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
            self.bad_integer("one under its minimum", least - 1);
            self.good_integer("at its minimum", least);
            self.good_integer("just over its minimum", least + step);
            self.bad_integer("far under its minimum", i128::from(i64::MIN));
        }
        if let Some(most) = most {
            self.good_integer("just under its maximum", most - step);
            self.good_integer("at its maximum", most);
            self.bad_integer("one over its maximum", most + 1);
            self.bad_integer("past 32 bits", i128::from(i32::MAX) + 1);
            self.bad_integer("past 32 bits without a sign", i128::from(u32::MAX) + 2);
            self.bad_integer("past 64 bits", i128::from(i64::MAX) + 1);
            // Too great for any type of a programming language: neither of them may come out as
            // something else.
            self.probes
                .bad
                .push(Probe::written("past 64 bits without a sign", "18446744073709551617"));
            self.probes.bad.push(Probe::written("past any floating point number", "1e400"));
        }
        self.bad("with a fraction", &json!(1.5));
        let Some(good) = self.some_integer(least, most, step) else { return };
        // To OpenAPI 3.0 they are no integers, to later JSON Schema they are.
        self.probes
            .open
            .push(Probe::written("written with a fraction of zero", format!("{good}.0")));
        self.probes.open.push(Probe::written("written with an exponent", format!("{good}e0")));
        self.bad("in quotes", &json!(good.to_string()));
    }

    /// A bound of integers that counts itself.
    fn bound(&self, keyword: &str, exclusive: &str, inwards: i128) -> Option<i128> {
        let bound = self.schema[keyword].as_i64()?;
        Some(i128::from(bound) + if self.schema[exclusive] == true { inwards } else { 0 })
    }

    fn some_integer(&self, least: Option<i128>, most: Option<i128>, step: i128) -> Option<i64> {
        let candidates =
            [Some(1), least, most, least.map(|least| least + step)].into_iter().flatten();
        let allowed = |candidate: &i64| (self.allows)(&json!(candidate));
        candidates.filter_map(|candidate| i64::try_from(candidate).ok()).find(allowed)
    }

    fn good_integer(&mut self, what: &str, number: i128) {
        if let Ok(number) = i64::try_from(number) {
            self.good(what, &json!(number));
        }
    }

    fn bad_integer(&mut self, what: &str, number: i128) {
        if let Ok(number) = i64::try_from(number) {
            self.bad(format!("{what}: {number}"), &json!(number));
        } else if let Ok(number) = u64::try_from(number) {
            self.bad(format!("{what}: {number}"), &json!(number));
        }
    }

    fn numbers(&mut self) {
        for (keyword, outwards) in [("minimum", -1.0), ("maximum", 1.0)] {
            let Some(bound) = self.schema[keyword].as_f64() else { continue };
            self.good(format!("at its {keyword}"), &json!(bound));
            self.good(format!("within its {keyword}"), &json!(bound - outwards / 4.0));
            self.bad(format!("past its {keyword}"), &json!(bound + outwards / 4.0));
            self.bad(format!("at its {keyword}, which does not count"), &json!(bound));
        }
        self.bad("in quotes", &json!("1"));
    }

    fn arrays(&mut self) {
        let bound = |keyword: &str| {
            self.schema[keyword].as_u64().and_then(|bound| usize::try_from(bound).ok())
        };
        let (least, most) =
            (bound("minItems"), bound("maxItems").filter(|most| *most <= strings::LONGEST));
        let Some(example) = self.schema["example"]
            .as_array()
            .and_then(|items| items.first())
            .cloned()
            .or_else(|| some_item(self.judge, self.schema))
        else {
            return;
        };
        let of = self.judge.resolve(&self.schema["items"]);
        let items = |count: usize| {
            Value::Array(
                (0..count)
                    .map(|at| if at == 0 { example.clone() } else { another(of, &example, at) })
                    .collect(),
            )
        };
        if let Some(least) = least {
            self.good(format!("at its minimum of {least} items"), &items(least));
            if least > 0 {
                self.bad(format!("one item under its minimum of {least}"), &items(least - 1));
            }
        }
        if let Some(most) = most {
            self.good(format!("at its maximum of {most} items"), &items(most));
            self.bad(format!("one item over its maximum of {most}"), &items(most + 1));
        }
        if self.schema["uniqueItems"] == true {
            self.bad("an item twice", &json!([example, example]));
        }
    }

    fn enumerated(&mut self) {
        let Some(values) = self.schema["enum"].as_array() else { return };
        for value in values {
            self.good(format!("the value {value}"), value);
        }
        if let Some(first) = values.iter().find_map(Value::as_str) {
            self.bad("a value that is none of its enum", &json!("none-of-them"));
            self.bad("a value of its enum in upper case", &json!(first.to_uppercase()));
            self.bad("a value of its enum with a space behind it", &json!(format!("{first} ")));
        }
    }

    /// Each other JSON type.
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
            ("an array of one of it", json!([self.schema["example"]])),
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
                self.bad(format!("{what} in place of its type"), &value);
            }
        }
        if self.schema["nullable"] == true {
            self.good("null", &Value::Null);
        }
        if self.schema["type"] == "boolean" {
            self.good("true", &json!(true));
            self.good("false", &json!(false));
            self.bad("true in quotes", &json!("true"));
            self.bad("0", &json!(0));
        }
    }
}

/// " (in characters of several bytes)" for a text that has some.
fn wide(text: &str) -> &'static str {
    if text.is_ascii() { "" } else { ", in characters of several bytes" }
}

/// The text with its last character so many times more.
fn longer(text: &str, by: usize) -> String {
    let last = text.chars().last().unwrap_or('a');
    text.chars().chain(std::iter::repeat_n(last, by)).collect()
}

/// An item that the array's schema allows.
fn some_item(judge: Judge<'_>, schema: &Value) -> Option<Value> {
    let items = judge.resolve(&schema["items"]);
    let candidates = [
        items["enum"][0].clone(),
        items["example"].clone(),
        strings::fresh(judge, items).map_or(Value::Null, Value::from),
        json!(1),
    ];
    candidates.into_iter().find(|item| judge.allows(items, item))
}

/// An item that differs from `item`, should items have to differ.
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
