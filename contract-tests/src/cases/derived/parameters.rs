//! Parameters of the path, the query and the headers: missing, repeated, unknown, at their bounds
//! and past them.

use serde_json::{Value, json};

use super::{
    UNDECLARED,
    judge::Judge,
    members::Extent,
    probes::{self, Probe},
    request::Request,
    target::{As, Target, plain},
    verdict::{self, Spot},
};
use crate::{
    document::{Location, Parameter},
    suite::{Case, Context, Failure},
};

/// Headers that are lists by RFC 9110 (§8.8.3, §13.1): several lines of them are one value.
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

/// A value of a parameter, as text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Texts {
    pub(super) good: Vec<(String, String)>,
    pub(super) bad: Vec<(String, String)>,
    pub(super) open: Vec<(String, String)>,
}

/// The texts to try with a parameter; each can stand where the parameter stands.
pub(super) fn texts(judge: Judge<'_>, location: Location, schema: &Value) -> Texts {
    let kind = schema["type"].as_str().unwrap_or("string");
    let probes = probes::of(judge, schema);
    let allows = judge.over(schema);
    let sendable = |(_, text): &(String, String)| can_stand(location, text);
    let as_text = |probe: Probe| (probe.what.clone(), probe.plain());
    let mut bad: Vec<(String, String)> = probes
        .bad
        .into_iter()
        .map(as_text)
        .filter(|(_, text)| !is_good(&allows, kind, text))
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
                bad.push((what.to_owned(), text.to_owned()));
            }
        }
        "boolean" => bad.push(("a word".to_owned(), "maybe".to_owned())),
        _ => {}
    }
    bad.dedup_by(|one, other| one.1 == other.1);
    Texts {
        good: probes.good.into_iter().map(as_text).filter(sendable).collect(),
        bad: bad.into_iter().filter(sendable).collect(),
        open: probes.open.into_iter().map(as_text).filter(sendable).collect(),
    }
}

/// Whether a text is a value that the schema allows, read as its type is written.
fn is_good(allows: impl Fn(&Value) -> bool, kind: &str, text: &str) -> bool {
    let value = match kind {
        "string" => json!(text),
        _ => serde_json::from_str(text).unwrap_or(Value::Null),
    };
    allows(&value)
}

/// Whether a text can be sent as a parameter and arrive as it was sent.
fn can_stand(location: Location, text: &str) -> bool {
    match location {
        // An empty segment is another path. An encoded slash is one to some proxies.
        Location::Path => !text.is_empty() && !text.contains('/') && !matches!(text, "." | ".."),
        Location::Query => true,
        // RFC 9110 §5.5: no control characters, and white space around a value is none of it.
        Location::Header => {
            text.trim() == text && !text.chars().any(|letter| letter.is_control() && letter != '\t')
        }
    }
}

fn values(target: &Target, parameter: &Parameter, cases: &mut Vec<Case>) {
    let schema = target.document().resolve(&parameter.schema);
    let texts = texts(Judge::new(target.document()), parameter.location, schema);
    let spot = Spot::parameter(parameter.location, &parameter.name);
    let named = |what: &str| format!("{} {}: {what}", spot.part, parameter.name);
    for (what, text) in texts.bad {
        let (spot, parameter) = (spot.clone(), parameter.clone());
        // The path is in `instance`, and short values turn up by chance.
        let telltale =
            (parameter.location != Location::Path && text.len() >= 12).then(|| text.clone());
        cases.push(target.case(400, named(&what), move |context, target, case| async move {
            let request = good(&context, &target, Extent::Full).await?.with(
                parameter.location,
                &parameter.name,
                &text,
            );
            let answer = request.call(&context).send().await?;
            verdict::refused(&answer, &case, &[spot], telltale.as_deref())
        }));
    }
    for (what, text) in texts.good {
        let parameter = parameter.clone();
        cases.push(target.case(
            target.success(),
            named(&what),
            move |context, target, case| async move {
                // Of an id it is not known whether there is one; then nothing but its shape counts.
                let request = good(&context, &target, Extent::Least).await?.with(
                    parameter.location,
                    &parameter.name,
                    &text,
                );
                let answer = request.call(&context).send().await?;
                verdict::accepted(&answer, &case)
            },
        ));
    }
    for (what, text) in texts.open {
        let (spot, parameter) = (spot.clone(), parameter.clone());
        cases.push(target.case(
            400,
            format!("{}, taken or refused", named(&what)),
            move |context, target, case| async move {
                let request = good(&context, &target, Extent::Full).await?.with(
                    parameter.location,
                    &parameter.name,
                    &text,
                );
                let answer = request.call(&context).send().await?;
                verdict::accepted_or_refused(&answer, &case, &spot)
            },
        ));
    }
}

async fn good(context: &Context, target: &Target, extent: Extent) -> Result<Request, Failure> {
    let user = context.user().await?;
    target.good(context, As::harmless(&user), extent).await
}

fn left_out(target: &Target, parameter: &Parameter) -> Option<Case> {
    // Without a segment it is another path.
    if !parameter.required || parameter.location == Location::Path {
        return None;
    }
    let parameter = parameter.clone();
    let spot = Spot::parameter(parameter.location, &parameter.name);
    Some(target.case(
        400,
        format!("{} {} left out", spot.part, parameter.name),
        move |context, target, case| async move {
            let mut request = good(&context, &target, Extent::Full).await?;
            request.remove(parameter.location, &parameter.name);
            let answer = request.call(&context).send().await?;
            verdict::refused(&answer, &case, &[spot], None)
        },
    ))
}

/// Repeated parameters are refused, whether they say the same or not.
fn repeated(target: &Target, parameter: &Parameter) -> Option<Case> {
    if parameter.location == Location::Path
        || LISTS.iter().any(|list| list.eq_ignore_ascii_case(&parameter.name))
    {
        return None;
    }
    let value = parameter.example.as_ref().map_or_else(|| "x".to_owned(), plain);
    let parameter = parameter.clone();
    let spot = Spot::parameter(parameter.location, &parameter.name);
    Some(target.case(
        400,
        format!("{} {} twice", spot.part, parameter.name),
        move |context, target, case| async move {
            let mut request = good(&context, &target, Extent::Full).await?.with(
                parameter.location,
                &parameter.name,
                &value,
            );
            request.add(parameter.location, &parameter.name, &value);
            let answer = request.call(&context).send().await?;
            verdict::refused(&answer, &case, &[spot], None)
        },
    ))
}

/// Parameters that are not declared are refused where any are.
fn unknown(target: &Target, cases: &mut Vec<Case>) {
    let in_upper_case =
        target.parameters(Location::Query).next().map(|parameter| parameter.name.to_uppercase());
    for name in [UNDECLARED.to_owned(), "a/b~c".to_owned()].into_iter().chain(in_upper_case) {
        let spot = Spot::parameter(Location::Query, &name);
        cases.push(target.case(
            400,
            format!("query with the unknown parameter {name:?}"),
            move |context, target, case| async move {
                let request = good(&context, &target, Extent::Full).await?.with(
                    Location::Query,
                    &name,
                    "sent-by-the-suite",
                );
                let answer = request.call(&context).send().await?;
                verdict::refused(&answer, &case, &[spot], Some("sent-by-the-suite"))
            },
        ));
    }
}

/// What is no UTF-8, or no percent-encoding, is no text: it is refused, or it is read as it stands
/// and then refused, but the server does not fail.
fn broken_encoding(target: &Target, cases: &mut Vec<Case>) {
    // No operation with a parameter in its path: those are filled with what is encoded.
    if target.operation().path.contains('{') {
        return;
    }
    let names: Vec<String> =
        target.parameters(Location::Query).map(|parameter| parameter.name.clone()).collect();
    for (name, text) in
        names.into_iter().flat_map(|name| ["%FF", "%", "%zz"].map(|text| (name.clone(), text)))
    {
        let case = format!("query {name} as {text:?}, taken or refused");
        cases.push(target.case(400, case, move |context, target, case| async move {
            let user = context.user().await?;
            let operation = target.operation();
            let mut call =
                context.raw(operation.method.clone(), &format!("{}?{name}={text}", operation.path));
            if operation.secured {
                call = call.as_user(&user);
            }
            let answer = call.send().await?;
            verdict::accepted_or_refused(&answer, &case, &Spot::parameter(Location::Query, &name))
        }));
    }
}
