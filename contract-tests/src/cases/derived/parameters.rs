//! Parameters: missing, repeated, unknown, at and beyond their bounds.

use serde_json::{Value, json};

use super::{
    UNDECLARED,
    expectations::{self, FaultLocation},
    members::Extent,
    request::Request,
    target::{RequestPlan, Target, plain},
    test_values::{self, TestValue},
    validator::SchemaValidator,
};
use crate::{
    document::{Location, Parameter},
    suite::{Case, Context, Failure},
};

/// List headers (RFC 9110 §8.8.3, §13.1): several lines are one value.
const LISTS: [&str; 2] = ["If-Match", "If-None-Match"];

pub(super) fn cases(target: &Target) -> Vec<Case> {
    let mut cases = Vec::new();
    for parameter in &target.operation().parameters {
        values(target, parameter, &mut cases);
        cases.extend(left_out(target, parameter));
        cases.extend(repeated(target, parameter));
    }
    if target.parameters(Location::Query).next().is_some() {
        unknown(target, &mut cases);
        broken_encoding(target, &mut cases);
    }
    cases
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct ParameterValue {
    pub(super) valid: Vec<(String, String)>,
    pub(super) invalid: Vec<(String, String)>,
    pub(super) unspecified: Vec<(String, String)>,
}

/// The values to test, as far as they can be sent in this location.
pub(super) fn texts(
    validator: SchemaValidator<'_>,
    location: Location,
    schema: &Value,
) -> ParameterValue {
    let kind = schema["type"].as_str().unwrap_or("string");
    let test_values = test_values::of(validator, schema);
    let allows = validator.over(schema);
    let sendable = |(_, text): &(String, String)| is_sendable(location, text);
    let as_text = |test_value: TestValue| (test_value.what.clone(), test_value.plain());
    let mut invalid: Vec<(String, String)> = test_values
        .invalid
        .into_iter()
        .map(as_text)
        .filter(|(_, text)| !is_valid(&allows, kind, text))
        .collect();
    match kind {
        "integer" | "number" => {
            for (what, text) in [
                ("a word", "one"),
                ("nothing", ""),
                ("two numbers", "1,2"),
                ("a number and a letter", "1x"),
                ("a hexadecimal number", "0x1"),
                ("two minus signs", "--1"),
                ("an Arabic digit", "\u{661}"),
                ("a number and a U+0000", "1\0"),
            ] {
                invalid.push((what.to_owned(), text.to_owned()));
            }
        }
        "boolean" => invalid.push(("a word".to_owned(), "maybe".to_owned())),
        _ => {}
    }
    invalid.dedup_by(|one, other| one.1 == other.1);
    ParameterValue {
        valid: test_values.valid.into_iter().map(as_text).filter(sendable).collect(),
        invalid: invalid.into_iter().filter(sendable).collect(),
        unspecified: test_values.unspecified.into_iter().map(as_text).filter(sendable).collect(),
    }
}

/// Whether the schema allows the text, parsed by its type.
fn is_valid(allows: impl Fn(&Value) -> bool, kind: &str, text: &str) -> bool {
    let value = match kind {
        "string" => json!(text),
        _ => serde_json::from_str(text).unwrap_or(Value::Null),
    };
    allows(&value)
}

/// Whether a text can be sent as a parameter unchanged.
fn is_sendable(location: Location, text: &str) -> bool {
    match location {
        // An empty segment is another path. Some proxies decode slashes.
        Location::Path => !text.is_empty() && !text.contains('/') && !matches!(text, "." | ".."),
        Location::Query => true,
        // RFC 9110 §5.5: no control characters; surrounding white space is dropped.
        Location::Header => {
            text.trim() == text && !text.chars().any(|letter| letter.is_control() && letter != '\t')
        }
    }
}

fn values(target: &Target, parameter: &Parameter, cases: &mut Vec<Case>) {
    let schema = target.document().resolve(&parameter.schema);
    let texts = texts(SchemaValidator::new(target.document()), parameter.location, schema);
    let location = FaultLocation::parameter(parameter.location, &parameter.name);
    let named = |what: &str| format!("{} {}: {what}", location.part, parameter.name);
    for (what, text) in texts.invalid {
        let (location, parameter) = (location.clone(), parameter.clone());
        // `instance` contains the path, and short values occur by chance.
        let canary =
            (parameter.location != Location::Path && text.len() >= 12).then(|| text.clone());
        cases.push(target.case(400, named(&what), move |context, target, case| async move {
            let request = valid(&context, &target, Extent::Full).await?.with(
                parameter.location,
                &parameter.name,
                &text,
            );
            let answer = request.call(&context).send().await?;
            expectations::refused(&answer, &case, &[location], canary.as_deref())
        }));
    }
    for (what, text) in texts.valid {
        let parameter = parameter.clone();
        cases.push(target.case(
            target.success(),
            named(&what),
            move |context, target, case| async move {
                // An id may be unknown; only its format counts.
                let request = valid(&context, &target, Extent::Required).await?.with(
                    parameter.location,
                    &parameter.name,
                    &text,
                );
                let answer = request.call(&context).send().await?;
                expectations::accepted(&answer, &case)
            },
        ));
    }
    for (what, text) in texts.unspecified {
        let (location, parameter) = (location.clone(), parameter.clone());
        cases.push(target.case(
            400,
            format!("{}, accepted or refused", named(&what)),
            move |context, target, case| async move {
                let request = valid(&context, &target, Extent::Full).await?.with(
                    parameter.location,
                    &parameter.name,
                    &text,
                );
                let answer = request.call(&context).send().await?;
                expectations::accepted_or_refused(&answer, &case, &location)
            },
        ));
    }
}

async fn valid(context: &Context, target: &Target, extent: Extent) -> Result<Request, Failure> {
    let user = context.user().await?;
    target.valid(context, RequestPlan::without_effect(&user), extent).await
}

fn left_out(target: &Target, parameter: &Parameter) -> Option<Case> {
    // Without the segment it is another path.
    if !parameter.required || parameter.location == Location::Path {
        return None;
    }
    let parameter = parameter.clone();
    let location = FaultLocation::parameter(parameter.location, &parameter.name);
    Some(target.case(
        400,
        format!("{} {} missing", location.part, parameter.name),
        move |context, target, case| async move {
            let mut request = valid(&context, &target, Extent::Full).await?;
            request.remove(parameter.location, &parameter.name);
            let answer = request.call(&context).send().await?;
            expectations::refused(&answer, &case, &[location], None)
        },
    ))
}

/// Repeated parameters are refused, equal or not.
fn repeated(target: &Target, parameter: &Parameter) -> Option<Case> {
    if parameter.location == Location::Path
        || LISTS.iter().any(|list| list.eq_ignore_ascii_case(&parameter.name))
    {
        return None;
    }
    let value = parameter.example.as_ref().map_or_else(|| "x".to_owned(), plain);
    let parameter = parameter.clone();
    let location = FaultLocation::parameter(parameter.location, &parameter.name);
    Some(target.case(
        400,
        format!("{} {} twice", location.part, parameter.name),
        move |context, target, case| async move {
            let mut request = valid(&context, &target, Extent::Full).await?.with(
                parameter.location,
                &parameter.name,
                &value,
            );
            request.add(parameter.location, &parameter.name, &value);
            let answer = request.call(&context).send().await?;
            expectations::refused(&answer, &case, &[location], None)
        },
    ))
}

/// Undeclared parameters are refused where any are declared.
fn unknown(target: &Target, cases: &mut Vec<Case>) {
    let in_upper_case =
        target.parameters(Location::Query).next().map(|parameter| parameter.name.to_uppercase());
    for name in [UNDECLARED.to_owned(), "a/b~c".to_owned()].into_iter().chain(in_upper_case) {
        let location = FaultLocation::parameter(Location::Query, &name);
        cases.push(target.case(
            400,
            format!("query with the unknown parameter {name:?}"),
            move |context, target, case| async move {
                let request = valid(&context, &target, Extent::Full).await?.with(
                    Location::Query,
                    &name,
                    "sent-by-the-suite",
                );
                let answer = request.call(&context).send().await?;
                expectations::refused(&answer, &case, &[location], Some("sent-by-the-suite"))
            },
        ));
    }
}

/// Invalid UTF-8 or percent-encoding is refused, or read literally and then refused; it is never a
/// server error.
fn broken_encoding(target: &Target, cases: &mut Vec<Case>) {
    // Paths with parameters already contain encoded values.
    if target.operation().path.contains('{') {
        return;
    }
    let names: Vec<String> =
        target.parameters(Location::Query).map(|parameter| parameter.name.clone()).collect();
    for (name, text) in
        names.into_iter().flat_map(|name| ["%FF", "%", "%zz"].map(|text| (name.clone(), text)))
    {
        let case = format!("query {name} as {text:?}, accepted or refused");
        cases.push(target.case(400, case, move |context, target, case| async move {
            let user = context.user().await?;
            let operation = target.operation();
            let mut call =
                context.raw(operation.method.clone(), &format!("{}?{name}={text}", operation.path));
            if operation.secured {
                call = call.as_user(&user);
            }
            let answer = call.send().await?;
            expectations::accepted_or_refused(
                &answer,
                &case,
                &FaultLocation::parameter(Location::Query, &name),
            )
        }));
    }
}
