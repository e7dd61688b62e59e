//! The members of a body: left out, unknown, repeated, of another type, at their bounds and past
//! them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    NO_VERSION, UNDECLARED,
    judge::Judge,
    members::{self, Extent, Member},
    probes::{self, Probe, Probes},
    target::{As, Target},
    verdict::{self, Spot},
};
use crate::{
    document::Location,
    suite::{Answer, Case, Context, Failure},
};

pub(super) fn cases(target: &Target) -> Vec<Case> {
    let Some(schema) = target.body() else { return Vec::new() };
    let members: Arc<[Member]> = target.members().into();
    let judge = Judge::new(target.document());
    let probes: Vec<(Member, Probes)> =
        members.iter().map(|member| (member.clone(), probes::of(judge, &member.schema))).collect();
    let mut cases = Vec::new();
    left_out(target, &members, &mut cases);
    unknown(target, &members::closed_objects(target.document(), schema), &mut cases);
    repeated(target, &members, &mut cases);
    other_types(target, schema, &mut cases);
    for (member, probes) in &probes {
        for probe in &probes.bad {
            cases.push(bad(target, member, probe));
        }
        for probe in &probes.good {
            cases.extend(not_named(target, schema, member, probe));
            if !target.takes_a_password() {
                cases.push(good(target, member, probe));
            }
        }
        if !target.takes_a_password() {
            cases.extend(probes.open.iter().map(|probe| open(target, member, probe)));
        }
    }
    if target.takes_a_password() {
        cases.extend(all_at_once(
            target,
            "every member at its least",
            probes.iter().map(|(member, probes)| (member, probes.good.first())),
        ));
        cases.extend(all_at_once(
            target,
            "every member at its greatest",
            probes.iter().map(|(member, probes)| (member, probes.good.last())),
        ));
    }
    cases.extend(every_fault(target, &probes));
    cases
}

/// Sends a body of which the text is made from a full good one.
async fn send(
    context: &Context,
    target: &Target,
    change: impl FnOnce(&Value) -> Option<String>,
) -> Result<Answer, Failure> {
    let user = context.user().await?;
    let request = target.good(context, As::harmless(&user), Extent::Full).await?;
    let text = change(request.value()).ok_or_else(|| {
        Failure::new("a good body was made without the member that this case is about")
    })?;
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
                verdict::refused(&answer, &case, &[Spot::at_or_around(&member.pointer)], None)
            },
        ));
    }
    let at_top: Vec<Spot> = required
        .iter()
        .filter(|member| member.parent().is_empty())
        .map(|member| Spot::at_or_around(&member.pointer))
        .collect();
    if !at_top.is_empty() {
        cases.push(target.case(
            400,
            "body without any member",
            move |context, target, case| async move {
                let answer = send(&context, &target, |_| Some("{}".to_owned())).await?;
                verdict::refused(&answer, &case, &at_top, None)
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
            let spot = Spot::at_or_around(&format!("{object}/{}", members::escape(&name)));
            verdict::refused(&answer, &case, &[spot], Some("sent-by-the-suite"))
        }));
    }
    for object in objects {
        let object = object.clone();
        let case = format!("body with an unknown member that is null in {}", shown(&object));
        cases.push(target.case(400, case, move |context, target, case| async move {
            let answer = send(&context, &target, |body| {
                Some(members::with_member(body, &object, UNDECLARED, Value::Null)?.to_string())
            })
            .await?;
            verdict::refused(
                &answer,
                &case,
                &[Spot::at_or_around(&format!("{object}/{UNDECLARED}"))],
                None,
            )
        }));
    }
}

fn repeated(target: &Target, members: &[Member], cases: &mut Vec<Case>) {
    for member in members.iter().filter(|member| member.name.parse::<usize>().is_err()) {
        for (how, escaped) in [("", false), (", once with an escape in its name", true)] {
            let member = member.clone();
            cases.push(target.case(
                400,
                format!("body with {} twice{how}", member.pointer),
                move |context, target, case| async move {
                    let answer =
                        send(&context, &target, |body| twice(body, &member, escaped)).await?;
                    verdict::refused(&answer, &case, &[Spot::at_or_around(&member.pointer)], None)
                },
            ));
        }
    }
}

/// The text of the body with the member written twice, both times with the same value.
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
    let judge = Judge::new(target.document());
    for (what, text) in [
        ("an array", "[]"),
        ("a text", "\"text\""),
        ("a number", "1"),
        ("true", "true"),
        ("null", "null"),
        ("nothing", ""),
        ("white space", " \r\n\t"),
    ] {
        if serde_json::from_str(text).is_ok_and(|value: Value| judge.allows(schema, &value)) {
            continue;
        }
        cases.push(target.case(
            400,
            format!("a body that is {what}"),
            move |context, target, case| async move {
                let answer = send(&context, &target, |_| Some(text.to_owned())).await?;
                verdict::refused(&answer, &case, &[Spot::body("")], None)
            },
        ));
    }
    cases.push(target.case(
        400,
        "a body that is an array of one good body",
        move |context, target, case| async move {
            let answer = send(&context, &target, |body| Some(format!("[{body}]"))).await?;
            verdict::refused(&answer, &case, &[Spot::body("")], None)
        },
    ));
}

fn bad(target: &Target, member: &Member, probe: &Probe) -> Case {
    let (member, probe) = (member.clone(), probe.clone());
    let case = format!("body {}: {}", member.pointer, probe.what);
    target.case(400, case, move |context, target, case| async move {
        let answer =
            send(&context, &target, |body| members::with_text(body, &member.pointer, &probe.text))
                .await?;
        let spot = if probe.may_be_unreadable() {
            Spot::at_or_around(&member.pointer)
        } else {
            Spot::body(&member.pointer)
        };
        verdict::refused(&answer, &case, &[spot], probe.telltale().as_deref())
    })
}

/// A refusal names all faults: with another fault beside it, a good value is not among them. So it
/// is seen to be good and nothing is done.
fn not_named(target: &Target, schema: &Value, member: &Member, probe: &Probe) -> Option<Case> {
    if schema["additionalProperties"] != false {
        return None;
    }
    let (member, probe) = (member.clone(), probe.clone());
    let case = format!("body {}: {}, beside a fault elsewhere", member.pointer, probe.what);
    Some(target.case(400, case, move |context, target, case| async move {
        let answer = send(&context, &target, |body| {
            let body = members::with_member(body, "", UNDECLARED, Value::Null)?;
            members::with_text(&body, &member.pointer, &probe.text)
        })
        .await?;
        verdict::refused(&answer, &case, &[Spot::body(&format!("/{UNDECLARED}"))], None)
    }))
}

/// Sends a body with this value, so that it changes no user: if the operation takes `If-Match`,
/// with a tag that no version has.
async fn send_in_earnest(
    context: &Context,
    target: &Target,
    change: impl FnOnce(&Value) -> Option<String>,
) -> Result<Answer, Failure> {
    let user = context.user().await?;
    let mut request = target.good(context, As::harmless(&user), Extent::Full).await?;
    if target.header("If-Match").is_some() {
        request.set(Location::Header, "If-Match", NO_VERSION);
    }
    let text = change(request.value()).ok_or_else(|| {
        Failure::new("a good body was made without the member that this case is about")
    })?;
    request.with_bytes(text).call(context).send().await
}

fn good(target: &Target, member: &Member, probe: &Probe) -> Case {
    let (member, probe) = (member.clone(), probe.clone());
    let case = format!("body {}: {}", member.pointer, probe.what);
    target.case(target.success(), case, move |context, target, case| async move {
        let answer = send_in_earnest(&context, &target, |body| {
            members::with_text(body, &member.pointer, &probe.text)
        })
        .await?;
        verdict::accepted(&answer, &case)
    })
}

fn open(target: &Target, member: &Member, probe: &Probe) -> Case {
    let (member, probe) = (member.clone(), probe.clone());
    let case = format!("body {}: {}, taken or refused", member.pointer, probe.what);
    target.case(400, case, move |context, target, case| async move {
        let answer = send_in_earnest(&context, &target, |body| {
            members::with_text(body, &member.pointer, &probe.text)
        })
        .await?;
        verdict::accepted_or_refused(&answer, &case, &Spot::body(&member.pointer))
    })
}

/// One request for all members, where each costs a hash.
fn all_at_once<'p>(
    target: &Target,
    what: &str,
    probes: impl Iterator<Item = (&'p Member, Option<&'p Probe>)>,
) -> Option<Case> {
    let probes: Vec<(Member, Probe)> =
        probes.filter_map(|(member, probe)| Some((member.clone(), probe?.clone()))).collect();
    if probes.is_empty() {
        return None;
    }
    Some(target.case(
        target.success(),
        format!("body with {what}"),
        move |context, target, case| async move {
            let answer = send_in_earnest(&context, &target, |body| {
                let mut body = body.clone();
                for (member, probe) in &probes {
                    *body.pointer_mut(&member.pointer)? = serde_json::from_str(&probe.text).ok()?;
                }
                Some(body.to_string())
            })
            .await?;
            verdict::accepted(&answer, &case)
        },
    ))
}

/// A refusal names all faults.
fn every_fault(target: &Target, probes: &[(Member, Probes)]) -> Option<Case> {
    let wrong: Vec<(Member, Probe)> = probes
        .iter()
        .filter(|(member, _)| member.parent().is_empty())
        .filter_map(|(member, probes)| Some((member.clone(), probes.bad.first()?.clone())))
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
                for (member, probe) in &wrong {
                    *body.pointer_mut(&member.pointer)? = serde_json::from_str(&probe.text).ok()?;
                }
                Some(body.to_string())
            })
            .await?;
            let spots: Vec<Spot> =
                wrong.iter().map(|(member, _)| Spot::body(&member.pointer)).collect();
            verdict::refused(&answer, &case, &spots, None)
        },
    ))
}

fn shown(object: &str) -> &str {
    if object.is_empty() { "the body" } else { object }
}
