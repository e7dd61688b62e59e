//! `If-None-Match` and `If-Match` with the current tag, others, lists, weak tags, `*` and malformed
//! values (RFC 9110 §8.8.3, §13.1).

use super::{
    expectations,
    members::Extent,
    target::{RequestPlan, Target},
};
use crate::{
    document::Location,
    suite::{Answer, Case, Context, Failure, User},
};

/// Attempts to read a resource that has changed between two requests, such as a product's stock.
const ATTEMPTS: usize = 20;

pub(super) fn cases(target: &Target) -> Vec<Case> {
    let mut cases = Vec::new();
    if target.declares(304) && target.header("If-None-Match").is_some() {
        if_none_match(target, &mut cases);
    }
    if target.declares(412) && target.header("If-Match").is_some() {
        if_match(target, &mut cases);
    }
    cases
}

type Condition = fn(&str) -> String;

fn if_none_match(target: &Target, cases: &mut Vec<Case>) {
    let conditions: [(&str, u16, Condition); 9] = [
        ("the current tag", 304, str::to_owned),
        ("the current tag as a weak tag, which compares as equal", 304, |tag| format!("W/{tag}")),
        ("a list that ends with the current tag", 304, |tag| format!("\"x\", {tag}")),
        ("a list with the current tag in its middle, without spaces", 304, |tag| {
            format!("\"x\",{tag},\"y\"")
        }),
        ("a star", 304, |_| "*".to_owned()),
        ("another tag", 200, |_| "\"another-tag\"".to_owned()),
        ("a prefix of the current tag", 200, |tag| format!("{}0\"", tag.trim_end_matches('"'))),
        ("other tags", 200, |_| "\"x\", W/\"y\"".to_owned()),
        ("a tag with a comma", 200, |_| "\"x,y\"".to_owned()),
    ];
    for (what, status, condition) in conditions {
        cases.push(target.case(
            status,
            format!("If-None-Match with {what}"),
            move |context, target, case| async move {
                let user = context.user().await?;
                conditional(&context, &target, &user, status, condition, &case).await
            },
        ));
    }
    for nonsense in ["", "x", "\"", "\"x", "W/", "\"x\" \"y\"", ",", "*, \"x\""] {
        cases.push(target.case(
            200,
            format!("If-None-Match as {nonsense:?}, accepted or refused"),
            move |context, target, case| async move {
                let user = context.user().await?;
                let request = target
                    .valid(&context, RequestPlan::without_effect(&user), Extent::Required)
                    .await?;
                let answer = request
                    .with(Location::Header, "If-None-Match", nonsense)
                    .call(&context)
                    .send()
                    .await?;
                expectations::accepted_or_refused(
                    &answer,
                    &case,
                    &expectations::FaultLocation::parameter(Location::Header, "If-None-Match"),
                )
            },
        ));
    }
}

/// Reads a resource twice, the second time conditionally, until it has not changed in between.
async fn conditional(
    context: &Context,
    target: &Target,
    user: &User,
    status: u16,
    condition: Condition,
    case: &str,
) -> Result<(), Failure> {
    let request =
        target.valid(context, RequestPlan::without_effect(user), Extent::Required).await?;
    for _ in 0..ATTEMPTS {
        let first = request.call(context).expect(200).await?;
        let tag = first.header("etag")?.to_owned();
        let second = request
            .clone()
            .with(Location::Header, "If-None-Match", &condition(&tag))
            .call(context)
            .send()
            .await?;
        if second.header("etag")? != tag {
            continue;
        }
        if second.status != status {
            return Err(second
                .fail(format!(
                    "{case}: the tag is still {tag}, so expected {status}, got {}",
                    second.status
                ))
                .and(first.exchange()));
        }
        if status == 200 && second.json() != first.json() {
            return Err(second
                .fail(format!(
                    "{case}: the tag is still {tag}, so expected the same body as before"
                ))
                .and(first.exchange()));
        }
        return Ok(());
    }
    Err(Failure::new(format!(
        "{case}: the resource changed {ATTEMPTS} times between two requests; retry when fewer \
         clients are active"
    )))
}

fn if_match(target: &Target, cases: &mut Vec<Case>) {
    let valid: [(&str, Condition); 3] = [
        ("the current tag", str::to_owned),
        ("a list that has the current tag", |tag| format!("\"x\", {tag}")),
        ("a star", |_| "*".to_owned()),
    ];
    for (what, condition) in valid {
        cases.push(target.case(
            target.success(),
            format!("If-Match with {what}"),
            move |context, target, case| async move {
                let user = context.own_user().await?;
                let (before, answer) =
                    change_if_match(&context, &target, &user, Extent::Required, condition).await?;
                if answer.status == target.success() {
                    return Ok(());
                }
                Err(answer
                    .fail(format!("{case}: expected {}, got {}", target.success(), answer.status))
                    .and(before.exchange()))
            },
        ));
    }
    let invalid: [(&str, Condition); 5] = [
        ("another tag", |_| "\"another-tag\"".to_owned()),
        ("other tags", |_| "\"x\", \"y\"".to_owned()),
        ("a prefix of the current tag", |tag| format!("{}0\"", tag.trim_end_matches('"'))),
        ("the current tag as a weak one: it matches nothing here", |tag| format!("W/{tag}")),
        ("a list of other tags and the present one as a weak one", |tag| format!("\"x\", W/{tag}")),
    ];
    for (what, condition) in invalid {
        cases.push(target.case(
            412,
            format!("If-Match with {what}"),
            move |context, target, case| async move {
                let user = context.own_user().await?;
                let (before, answer) =
                    change_if_match(&context, &target, &user, Extent::Full, condition).await?;
                if answer.status != 412 {
                    return Err(answer
                        .fail(format!("{case}: expected 412, got {}", answer.status))
                        .and(before.exchange()));
                }
                target.unchanged(&context, &user, Some(&before), &case).await
            },
        ));
    }
    // Empty values and lists are excluded: a server may treat them as no condition.
    for nonsense in ["x", "\"", "\"x", "W/", "\"x\" \"y\""] {
        cases.push(target.case(
            412,
            format!("If-Match as {nonsense:?}, refused"),
            move |context, target, case| async move {
                let user = context.own_user().await?;
                let (before, answer) =
                    change_if_match(&context, &target, &user, Extent::Full, |_| {
                        nonsense.to_owned()
                    })
                    .await?;
                if !matches!(answer.status, 400 | 412) {
                    return Err(answer
                        .fail(format!("{case}: expected 400 or 412, got {}", answer.status))
                        .and(before.exchange()));
                }
                target.unchanged(&context, &user, Some(&before), &case).await
            },
        ));
    }
}

/// Sends a change on the condition that `condition` makes of the current entity tag. Returns the
/// resource before the change, and the response.
async fn change_if_match(
    context: &Context,
    target: &Target,
    user: &User,
    extent: Extent,
    condition: impl FnOnce(&str) -> String,
) -> Result<(Answer, Answer), Failure> {
    let before = snapshot(context, target, user).await?;
    let value = condition(before.header("etag")?);
    let request = target.valid(context, RequestPlan::effective(user), extent).await?;
    let answer = request.with(Location::Header, "If-Match", &value).call(context).send().await?;
    Ok((before, answer))
}

async fn snapshot(context: &Context, target: &Target, user: &User) -> Result<Answer, Failure> {
    target.snapshot(context, user).await?.ok_or_else(|| {
        Failure::new("the document has no operation that reads what this one changes")
    })
}
