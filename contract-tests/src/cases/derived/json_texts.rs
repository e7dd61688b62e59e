//! Bodies that are no JSON, in each way in which parsers are known to be forgiving.

use serde_json::{Value, json};

use super::{
    UNDECLARED,
    judge::Judge,
    members::{self, Extent},
    target::{As, Target},
    verdict::{self, Spot},
};
use crate::suite::{Answer, Case, Context, Failure};

/// How deep "nested deeply" is: a parser that recurses has no stack for it.
const DEPTH: usize = 10_000;

/// A text made of a good body. One that RFC 8259 does not allow is such that a forgiving parser
/// would read a good body out of it, where that can be.
#[derive(Clone, Copy)]
pub(super) enum Text {
    /// Made of the whole text.
    Whole(fn(&str) -> Vec<u8>),
    /// This in place of an integer; of whatever comes first, if there is none.
    Integer(&'static str),
    /// This in place of a text, one with the fewest rules.
    String(&'static [u8]),
    /// This as the value of a member that is not declared, at the end: refused however it is read.
    Undeclared(&'static str),
}

pub(super) const BROKEN: [(&str, Text); 33] = [
    ("cut off", Text::Whole(|body| body[..body.len() - 1].into())),
    ("cut off in the middle", Text::Whole(|body| body.as_bytes()[..body.len() / 2].into())),
    ("a comma behind the last member", Text::Whole(|body| closed_by(body, ",}"))),
    ("a comma before the first member", Text::Whole(|body| format!("{{,{}", &body[1..]).into())),
    ("something behind it", Text::Whole(|body| format!("{body} x").into())),
    ("a brace too many", Text::Whole(|body| format!("{body}}}").into())),
    ("two documents", Text::Whole(|body| format!("{body}\n{body}").into())),
    ("a bracket in place of the last brace", Text::Whole(|body| closed_by(body, "]"))),
    ("a comment before it", Text::Whole(|body| format!("/* a comment */ {body}").into())),
    ("a comment behind it", Text::Whole(|body| format!("{body} // a comment").into())),
    ("single quotes", Text::Whole(|body| body.replace('"', "'").into())),
    ("names without quotes", Text::Whole(names_without_quotes)),
    ("UTF-16", Text::Whole(|body| body.encode_utf16().flat_map(u16::to_le_bytes).collect())),
    ("ten thousand open brackets", Text::Whole(|_| "[".repeat(DEPTH).into())),
    (
        "arrays nested ten thousand deep",
        Text::Whole(|_| format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH)).into()),
    ),
    (
        "objects nested ten thousand deep",
        Text::Whole(|_| format!("{}1{}", "{\"a\":".repeat(DEPTH), "}".repeat(DEPTH)).into()),
    ),
    ("a form", Text::Whole(|_| b"a=1&b=2".to_vec())),
    ("XML", Text::Whole(|_| b"<?xml version=\"1.0\"?><a/>".to_vec())),
    ("NaN", Text::Integer("NaN")),
    ("Infinity", Text::Integer("-Infinity")),
    ("undefined", Text::Integer("undefined")),
    ("a number with a leading zero", Text::Integer("01")),
    ("a number with a plus", Text::Integer("+1")),
    ("a number without digits behind its point", Text::Integer("1.")),
    ("a hexadecimal number", Text::Integer("0x1")),
    ("no value at all", Text::Integer("")),
    ("a line break in a text", Text::String(b"\"correct\nhorse\"")),
    ("an unknown escape in a text", Text::String(b"\"correct\\x62horse\"")),
    ("half an escape in a text", Text::String(b"\"correct\\u00horse\"")),
    ("bytes that are no UTF-8", Text::String(b"\"correct\xffhorse\"")),
    ("Latin-1", Text::String(b"\"correct\xe9horse\"")),
    ("an overlong UTF-8 sequence", Text::String(b"\"correct\xc0\xafhorse\"")),
    ("a surrogate in UTF-8", Text::String(b"\"correct\xed\xa0\x80horse\"")),
];

/// What RFC 8259 leaves to the parser.
pub(super) const LEFT_OPEN: [(&str, Text); 4] = [
    (
        "a byte order mark",
        Text::Whole(|body| ["\u{FEFF}".as_bytes(), body.as_bytes(), b" x"].concat()),
    ),
    ("half a surrogate pair as an escape", Text::Undeclared("\"\\ud83e\"")),
    ("a number that no type holds", Text::Undeclared("1e999999999")),
    (
        "a number of a hundred digits",
        Text::Undeclared(
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
        LEFT_OPEN.map(|(what, text)| (format!("{what}, beside a fault elsewhere"), text));
    let case = |(what, text): (String, Text)| {
        target.case(400, what, move |context, target, case| async move {
            let answer = send(&context, &target, text).await?;
            // Where in a text that is no JSON the fault is, nobody can say for sure: anywhere in
            // the body will do.
            verdict::refused(&answer, &case, &[Spot::body("")], None)
        })
    };
    broken.into_iter().chain(left_open).map(case).collect()
}

async fn send(context: &Context, target: &Target, text: Text) -> Result<Answer, Failure> {
    let user = context.user().await?;
    let request = target.good(context, As::harmless(&user), Extent::Full).await?;
    let bytes = write(target, request.value(), text)
        .ok_or_else(|| Failure::new("the document has no body to break"))?;
    request.with_bytes(bytes).call(context).send().await
}

/// The text made of this body.
pub(super) fn write(target: &Target, body: &Value, text: Text) -> Option<Vec<u8>> {
    let members = target.members();
    let there = || members.iter().filter(|member| body.pointer(&member.pointer).is_some());
    match text {
        Text::Whole(text) => Some(text(&body.to_string())),
        Text::Integer(value) => {
            let member = there()
                .find(|member| member.schema["type"] == "integer")
                .or_else(|| there().next())?;
            Some(members::with_text(body, &member.pointer, value)?.into())
        }
        Text::String(value) => {
            let judge = Judge::new(target.document());
            let free = there()
                .find(|member| judge.allows(&member.schema, &json!("correct\n\u{FFFD}horse")));
            let member = free
                .or_else(|| there().find(|member| member.schema["type"] == "string"))
                .or_else(|| there().next())?;
            Some(spliced(&members::with_text(body, &member.pointer, PLACE)?, value))
        }
        Text::Undeclared(value) => {
            let body = body.to_string();
            let start = body.strip_suffix('}')?;
            let comma = if start.ends_with('{') { "" } else { "," };
            Some(format!("{start}{comma}\"{UNDECLARED}\":{value}}}").into())
        }
    }
}

/// Where bytes are to stand that are no text.
const PLACE: &str = "\u{E000}";

fn spliced(text: &str, value: &[u8]) -> Vec<u8> {
    let (before, behind) = text.split_once(PLACE).unwrap_or((text, ""));
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
