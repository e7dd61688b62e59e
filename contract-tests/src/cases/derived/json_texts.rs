//! Malformed JSON that lenient parsers accept.

use serde_json::{Value, json};

use super::{
    UNDECLARED,
    expectations::{self, FaultLocation},
    members::{self, Extent},
    target::{RequestPlan, Target},
    validator::SchemaValidator,
};
use crate::suite::{Answer, Case, Context, Failure};

/// Overflows the stack of a recursive parser.
const DEPTH: usize = 10_000;

/// A text made from a valid body. If RFC 8259 forbids it, a lenient parser would still read a valid
/// body.
#[derive(Clone, Copy)]
pub(super) enum JsonText {
    /// Transforms the whole text.
    Whole(fn(&str) -> Vec<u8>),
    /// Replaces an integer, or else the first value.
    Integer(&'static str),
    /// Replaces the string with the fewest rules.
    String(&'static [u8]),
    /// The value of an undeclared last member, so that every server refuses the body.
    Undeclared(&'static str),
}

pub(super) const BROKEN: [(&str, JsonText); 33] = [
    ("cut off", JsonText::Whole(|body| body[..body.len() - 1].into())),
    ("cut off in the middle", JsonText::Whole(|body| body.as_bytes()[..body.len() / 2].into())),
    ("a comma after the last member", JsonText::Whole(|body| closed_by(body, ",}"))),
    (
        "a comma before the first member",
        JsonText::Whole(|body| format!("{{,{}", &body[1..]).into()),
    ),
    ("trailing text", JsonText::Whole(|body| format!("{body} x").into())),
    ("an extra brace", JsonText::Whole(|body| format!("{body}}}").into())),
    ("two documents", JsonText::Whole(|body| format!("{body}\n{body}").into())),
    ("a bracket instead of the last brace", JsonText::Whole(|body| closed_by(body, "]"))),
    ("a comment before it", JsonText::Whole(|body| format!("/* a comment */ {body}").into())),
    ("a comment after it", JsonText::Whole(|body| format!("{body} // a comment").into())),
    ("single quotes", JsonText::Whole(|body| body.replace('"', "'").into())),
    ("names without quotes", JsonText::Whole(names_without_quotes)),
    ("UTF-16", JsonText::Whole(|body| body.encode_utf16().flat_map(u16::to_le_bytes).collect())),
    ("ten thousand open brackets", JsonText::Whole(|_| "[".repeat(DEPTH).into())),
    (
        "arrays nested ten thousand deep",
        JsonText::Whole(|_| format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH)).into()),
    ),
    (
        "objects nested ten thousand deep",
        JsonText::Whole(|_| format!("{}1{}", "{\"a\":".repeat(DEPTH), "}".repeat(DEPTH)).into()),
    ),
    ("a form", JsonText::Whole(|_| b"a=1&b=2".to_vec())),
    ("XML", JsonText::Whole(|_| b"<?xml version=\"1.0\"?><a/>".to_vec())),
    ("NaN", JsonText::Integer("NaN")),
    ("Infinity", JsonText::Integer("-Infinity")),
    ("undefined", JsonText::Integer("undefined")),
    ("a number with a leading zero", JsonText::Integer("01")),
    ("a number with a plus", JsonText::Integer("+1")),
    ("a number without digits after its point", JsonText::Integer("1.")),
    ("a hexadecimal number", JsonText::Integer("0x1")),
    ("no value at all", JsonText::Integer("")),
    ("a line break in a string", JsonText::String(b"\"correct\nhorse\"")),
    ("an unknown escape in a string", JsonText::String(b"\"correct\\x62horse\"")),
    ("half an escape in a string", JsonText::String(b"\"correct\\u00horse\"")),
    ("bytes that are not UTF-8", JsonText::String(b"\"correct\xffhorse\"")),
    ("Latin-1", JsonText::String(b"\"correct\xe9horse\"")),
    ("an overlong UTF-8 sequence", JsonText::String(b"\"correct\xc0\xafhorse\"")),
    ("a surrogate in UTF-8", JsonText::String(b"\"correct\xed\xa0\x80horse\"")),
];

/// RFC 8259 leaves these to the parser.
pub(super) const IMPLEMENTATION_DEFINED: [(&str, JsonText); 4] = [
    (
        "a byte order mark",
        JsonText::Whole(|body| ["\u{FEFF}".as_bytes(), body.as_bytes(), b" x"].concat()),
    ),
    ("half a surrogate pair as an escape", JsonText::Undeclared("\"\\ud83e\"")),
    ("a number beyond every type", JsonText::Undeclared("1e999999999")),
    (
        "a number of a hundred digits",
        JsonText::Undeclared(
            "1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
        ),
    ),
];

pub(super) fn cases(target: &Target) -> Vec<Case> {
    if target.body().is_none() {
        return Vec::new();
    }
    let broken = BROKEN.map(|(what, text)| (format!("malformed JSON: {what}"), text));
    let left_open =
        IMPLEMENTATION_DEFINED.map(|(what, text)| (format!("{what}, beside another fault"), text));
    let case = |(what, text): (String, JsonText)| {
        target.case(400, what, move |context, target, case| async move {
            let answer = send(&context, &target, text).await?;
            // The position of a syntax error is ambiguous: any pointer in the body passes.
            expectations::refused(&answer, &case, &[FaultLocation::body("")], None)
        })
    };
    broken.into_iter().chain(left_open).map(case).collect()
}

async fn send(context: &Context, target: &Target, text: JsonText) -> Result<Answer, Failure> {
    let user = context.user().await?;
    let request = target.valid(context, RequestPlan::without_effect(&user), Extent::Full).await?;
    let bytes = write(target, request.value(), text)
        .ok_or_else(|| Failure::new("the document has no body to break"))?;
    request.with_bytes(bytes).call(context).send().await
}

pub(super) fn write(target: &Target, body: &Value, text: JsonText) -> Option<Vec<u8>> {
    let members = target.members();
    let present = || members.iter().filter(|member| body.pointer(&member.pointer).is_some());
    match text {
        JsonText::Whole(text) => Some(text(&body.to_string())),
        JsonText::Integer(value) => {
            let member = present()
                .find(|member| member.schema["type"] == "integer")
                .or_else(|| present().next())?;
            Some(members::with_text(body, &member.pointer, value)?.into())
        }
        JsonText::String(value) => {
            let validator = SchemaValidator::new(target.document());
            let free = present()
                .find(|member| validator.allows(&member.schema, &json!("correct\n\u{FFFD}horse")));
            let member = free
                .or_else(|| present().find(|member| member.schema["type"] == "string"))
                .or_else(|| present().next())?;
            Some(spliced(&members::with_text(body, &member.pointer, PLACEHOLDER)?, value))
        }
        JsonText::Undeclared(value) => {
            let body = body.to_string();
            let start = body.strip_suffix('}')?;
            let comma = if start.ends_with('{') { "" } else { "," };
            Some(format!("{start}{comma}\"{UNDECLARED}\":{value}}}").into())
        }
    }
}

/// A placeholder for bytes that are not UTF-8.
const PLACEHOLDER: &str = "\u{E000}";

fn spliced(text: &str, value: &[u8]) -> Vec<u8> {
    let (before, behind) = text.split_once(PLACEHOLDER).unwrap_or((text, ""));
    [before.as_bytes(), value, behind.as_bytes()].concat()
}

fn closed_by(body: &str, end: &str) -> Vec<u8> {
    format!("{}{end}", &body[..body.len() - 1]).into()
}

fn names_without_quotes(body: &str) -> Vec<u8> {
    let Ok(Value::Object(members)) = serde_json::from_str(body) else { return b"{a:1}".to_vec() };
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    format!("{{{}}}", members.join(",")).into()
}
