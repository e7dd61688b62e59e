//! Members of a body: missing, unknown, repeated, of another type, at and beyond their bounds.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    NO_VERSION, UNDECLARED,
    expectations::{self, FaultLocation},
    members::{self, Extent, Member},
    target::{RequestPlan, Target},
    test_values::{self, TestValue, TestValues},
    validator::SchemaValidator,
};
use crate::{
    document::Location,
    suite::{Answer, Case, Context, Failure},
};

pub(super) fn cases(target: &Target) -> Vec<Case> {
    let Some(schema) = target.body() else { return Vec::new() };
    let members: Arc<[Member]> = target.members().into();
    let validator = SchemaValidator::new(target.document());
    let test_values: Vec<(Member, TestValues)> = members
        .iter()
        .map(|member| (member.clone(), test_values::of(validator, &member.schema)))
        .collect();
    let mut cases = Vec::new();
    left_out(target, &members, &mut cases);
    unknown(target, &members::closed_objects(target.document(), schema), &mut cases);
    repeated(target, &members, &mut cases);
    other_types(target, schema, &mut cases);
    for (member, test_values) in &test_values {
        for test_value in &test_values.invalid {
            cases.push(invalid(target, member, test_value));
        }
        for test_value in &test_values.valid {
            cases.extend(not_named(target, schema, member, test_value));
            if !target.takes_a_password() {
                cases.push(valid(target, member, test_value));
            }
        }
        if !target.takes_a_password() {
            cases.extend(
                test_values
                    .unspecified
                    .iter()
                    .map(|test_value| unspecified(target, member, test_value)),
            );
        }
    }
    if target.takes_a_password() {
        cases.extend(all_at_once(
            target,
            "every member at its minimum",
            test_values.iter().map(|(member, test_values)| (member, test_values.valid.first())),
        ));
        cases.extend(all_at_once(
            target,
            "every member at its maximum",
            test_values.iter().map(|(member, test_values)| (member, test_values.valid.last())),
        ));
    }
    cases.extend(every_fault(target, &test_values));
    cases
}

async fn send(
    context: &Context,
    target: &Target,
    change: impl FnOnce(&Value) -> Option<String>,
) -> Result<Answer, Failure> {
    let user = context.user().await?;
    let request = target.valid(context, RequestPlan::without_effect(&user), Extent::Full).await?;
    let text = change(request.value())
        .ok_or_else(|| Failure::new("the generated body lacks the tested member"))?;
    request.with_bytes(text).call(context).send().await
}

fn left_out(target: &Target, members: &[Member], cases: &mut Vec<Case>) {
    let required: Vec<Member> = members.iter().filter(|member| member.required).cloned().collect();
    for member in required.clone() {
        cases.push(target.case(
            400,
            format!("body without {}", member.pointer),
            move |context, target, case| async move {
                let answer = send(&context, &target, |body| {
                    Some(members::without(body, &member.pointer)?.to_string())
                })
                .await?;
                expectations::refused(
                    &answer,
                    &case,
                    &[FaultLocation::member_or_parent(&member.pointer)],
                    None,
                )
            },
        ));
    }
    let at_top: Vec<FaultLocation> = required
        .iter()
        .filter(|member| member.parent().is_empty())
        .map(|member| FaultLocation::member_or_parent(&member.pointer))
        .collect();
    if !at_top.is_empty() {
        cases.push(target.case(
            400,
            "body without any member",
            move |context, target, case| async move {
                let answer = send(&context, &target, |_| Some("{}".to_owned())).await?;
                expectations::refused(&answer, &case, &at_top, None)
            },
        ));
    }
}

fn unknown(target: &Target, objects: &[String], cases: &mut Vec<Case>) {
    let declared = target.members().first().map(|member| member.name.to_uppercase());
    let names = [UNDECLARED.to_owned(), String::new(), "a/b~c".to_owned(), "__proto__".to_owned()]
        .into_iter()
        .chain(declared);
    for (object, name) in
        objects.iter().flat_map(|object| names.clone().map(move |name| (object.clone(), name)))
    {
        let case = format!("body with the unknown member {name:?} in {}", shown(&object));
        cases.push(target.case(400, case, move |context, target, case| async move {
            let value = json!("sent-by-the-suite");
            let answer = send(&context, &target, |body| {
                Some(members::with_member(body, &object, &name, value)?.to_string())
            })
            .await?;
            let location =
                FaultLocation::member_or_parent(&format!("{object}/{}", members::escape(&name)));
            expectations::refused(&answer, &case, &[location], Some("sent-by-the-suite"))
        }));
    }
    for object in objects {
        let object = object.clone();
        let case = format!("body with an unknown null member in {}", shown(&object));
        cases.push(target.case(400, case, move |context, target, case| async move {
            let answer = send(&context, &target, |body| {
                Some(members::with_member(body, &object, UNDECLARED, Value::Null)?.to_string())
            })
            .await?;
            expectations::refused(
                &answer,
                &case,
                &[FaultLocation::member_or_parent(&format!("{object}/{UNDECLARED}"))],
                None,
            )
        }));
    }
}

fn repeated(target: &Target, members: &[Member], cases: &mut Vec<Case>) {
    for member in members.iter().filter(|member| member.name.parse::<usize>().is_err()) {
        for (how, escaped) in [("", false), (", once with an escaped name", true)] {
            let member = member.clone();
            cases.push(target.case(
                400,
                format!("body with {} twice{how}", member.pointer),
                move |context, target, case| async move {
                    let answer =
                        send(&context, &target, |body| twice(body, &member, escaped)).await?;
                    expectations::refused(
                        &answer,
                        &case,
                        &[FaultLocation::member_or_parent(&member.pointer)],
                        None,
                    )
                },
            ));
        }
    }
}

/// Returns the body with the member repeated, with the same value.
pub(super) fn twice(body: &Value, member: &Member, escaped: bool) -> Option<String> {
    let value = body.pointer(&member.pointer)?;
    let again = if escaped {
        let first = member.name.chars().next().filter(char::is_ascii)?;
        format!("\"\\u{:04x}{}\":{value}", u32::from(first), &member.name[1..])
    } else {
        format!("{}:{value}", json!(member.name))
    };
    let object = body.pointer(member.parent())?.to_string();
    let object = format!("{},{again}}}", object.strip_suffix('}')?);
    if member.parent().is_empty() {
        Some(object)
    } else {
        members::with_text(body, member.parent(), &object)
    }
}

fn other_types(target: &Target, schema: &Value, cases: &mut Vec<Case>) {
    let validator = SchemaValidator::new(target.document());
    for (what, text) in [
        ("an array", "[]"),
        ("a text", "\"text\""),
        ("a number", "1"),
        ("true", "true"),
        ("null", "null"),
        ("nothing", ""),
        ("white space", " \r\n\t"),
    ] {
        if serde_json::from_str(text).is_ok_and(|value: Value| validator.allows(schema, &value)) {
            continue;
        }
        cases.push(target.case(
            400,
            format!("a body that is {what}"),
            move |context, target, case| async move {
                let answer = send(&context, &target, |_| Some(text.to_owned())).await?;
                expectations::refused(&answer, &case, &[FaultLocation::body("")], None)
            },
        ));
    }
    cases.push(target.case(
        400,
        "a body that is an array of one valid body",
        move |context, target, case| async move {
            let answer = send(&context, &target, |body| Some(format!("[{body}]"))).await?;
            expectations::refused(&answer, &case, &[FaultLocation::body("")], None)
        },
    ));
}

fn invalid(target: &Target, member: &Member, test_value: &TestValue) -> Case {
    let (member, test_value) = (member.clone(), test_value.clone());
    let case = format!("body {}: {}", member.pointer, test_value.what);
    target.case(400, case, move |context, target, case| async move {
        let answer = send(&context, &target, |body| {
            members::with_text(body, &member.pointer, &test_value.text)
        })
        .await?;
        let location = if test_value.may_be_unreadable() {
            FaultLocation::member_or_parent(&member.pointer)
        } else {
            FaultLocation::body(&member.pointer)
        };
        expectations::refused(&answer, &case, &[location], test_value.canary().as_deref())
    })
}

/// Sends a valid value together with an unrelated fault: the refusal must not name the value.
fn not_named(
    target: &Target,
    schema: &Value,
    member: &Member,
    test_value: &TestValue,
) -> Option<Case> {
    if schema["additionalProperties"] != false {
        return None;
    }
    let (member, test_value) = (member.clone(), test_value.clone());
    let case = format!("body {}: {}, beside another fault", member.pointer, test_value.what);
    Some(target.case(400, case, move |context, target, case| async move {
        let answer = send(&context, &target, |body| {
            let body = members::with_member(body, "", UNDECLARED, Value::Null)?;
            members::with_text(&body, &member.pointer, &test_value.text)
        })
        .await?;
        expectations::refused(
            &answer,
            &case,
            &[FaultLocation::body(&format!("/{UNDECLARED}"))],
            None,
        )
    }))
}

/// Sends this value in a separate request. If the operation takes `If-Match`, an unmatched tag
/// prevents a change.
async fn send_alone(
    context: &Context,
    target: &Target,
    change: impl FnOnce(&Value) -> Option<String>,
) -> Result<Answer, Failure> {
    let user = context.user().await?;
    let mut request =
        target.valid(context, RequestPlan::without_effect(&user), Extent::Full).await?;
    if target.header("If-Match").is_some() {
        request.set(Location::Header, "If-Match", NO_VERSION);
    }
    let text = change(request.value())
        .ok_or_else(|| Failure::new("the generated body lacks the tested member"))?;
    request.with_bytes(text).call(context).send().await
}

fn valid(target: &Target, member: &Member, test_value: &TestValue) -> Case {
    let (member, test_value) = (member.clone(), test_value.clone());
    let case = format!("body {}: {}", member.pointer, test_value.what);
    target.case(target.success(), case, move |context, target, case| async move {
        let answer = send_alone(&context, &target, |body| {
            members::with_text(body, &member.pointer, &test_value.text)
        })
        .await?;
        expectations::accepted(&answer, &case)
    })
}

fn unspecified(target: &Target, member: &Member, test_value: &TestValue) -> Case {
    let (member, test_value) = (member.clone(), test_value.clone());
    let case = format!("body {}: {}, accepted or refused", member.pointer, test_value.what);
    target.case(400, case, move |context, target, case| async move {
        let answer = send_alone(&context, &target, |body| {
            members::with_text(body, &member.pointer, &test_value.text)
        })
        .await?;
        expectations::accepted_or_refused(&answer, &case, &FaultLocation::body(&member.pointer))
    })
}

/// One request for all members, for operations that hash a password.
fn all_at_once<'p>(
    target: &Target,
    what: &str,
    test_values: impl Iterator<Item = (&'p Member, Option<&'p TestValue>)>,
) -> Option<Case> {
    let test_values: Vec<(Member, TestValue)> = test_values
        .filter_map(|(member, test_value)| Some((member.clone(), test_value?.clone())))
        .collect();
    if test_values.is_empty() {
        return None;
    }
    Some(target.case(
        target.success(),
        format!("body with {what}"),
        move |context, target, case| async move {
            let answer = send_alone(&context, &target, |body| {
                let mut body = body.clone();
                for (member, test_value) in &test_values {
                    *body.pointer_mut(&member.pointer)? =
                        serde_json::from_str(&test_value.text).ok()?;
                }
                Some(body.to_string())
            })
            .await?;
            expectations::accepted(&answer, &case)
        },
    ))
}

/// A refusal lists all faults.
fn every_fault(target: &Target, test_values: &[(Member, TestValues)]) -> Option<Case> {
    let wrong: Vec<(Member, TestValue)> = test_values
        .iter()
        .filter(|(member, _)| member.parent().is_empty())
        .filter_map(|(member, test_values)| {
            Some((member.clone(), test_values.invalid.first()?.clone()))
        })
        .collect();
    if wrong.len() < 2 {
        return None;
    }
    Some(target.case(
        400,
        "body with a fault in every member",
        move |context, target, case| async move {
            let answer = send(&context, &target, |body| {
                let mut body = body.clone();
                for (member, test_value) in &wrong {
                    *body.pointer_mut(&member.pointer)? =
                        serde_json::from_str(&test_value.text).ok()?;
                }
                Some(body.to_string())
            })
            .await?;
            let locations: Vec<FaultLocation> =
                wrong.iter().map(|(member, _)| FaultLocation::body(&member.pointer)).collect();
            expectations::refused(&answer, &case, &locations, None)
        },
    ))
}

fn shown(object: &str) -> &str {
    if object.is_empty() { "the body" } else { object }
}
