//! Unknown ids and ids of other users' resources: the responses must be indistinguishable.

use serde_json::Value;

use super::{
    members::Extent,
    target::{RequestPlan, Target, plain},
};
use crate::{
    document::{Location, Parameter},
    suite::{Answer, Case, Context, Failure, User},
};

pub(super) fn cases(target: &Target) -> Vec<Case> {
    let mut cases = Vec::new();
    if !target.declares(404) {
        return cases;
    }
    for parameter in target.parameters(Location::Path) {
        unknown(target, parameter, &mut cases);
        if target.operation().secured {
            another_users(target, parameter, &mut cases);
        }
    }
    unknown_in_the_body(target, &mut cases);
    cases
}

fn unknown_id(context: &Context, target: &Target, schema: &Value) -> String {
    if target.document().resolve(schema)["type"] == "integer" {
        // Close to the maximum of 32 bits, because servers assign ids from 1 upwards.
        const RANGE: u128 = 1_000_000;
        let below = u32::try_from(context.fresh_id().as_u128() % RANGE).unwrap_or_default();
        return (i32::MAX.unsigned_abs() - below).to_string();
    }
    context.fresh_id().to_string()
}

fn unknown(target: &Target, parameter: &Parameter, cases: &mut Vec<Case>) {
    let parameter = parameter.clone();
    cases.push(target.case(
        404,
        format!("path {}: an unknown id", parameter.name),
        move |context, target, case| async move {
            let user = context.user().await?;
            let id = unknown_id(&context, &target, &parameter.schema);
            let request =
                target.valid(&context, RequestPlan::without_effect(&user), Extent::Full).await?;
            let answer =
                request.with(Location::Path, &parameter.name, &id).call(&context).send().await?;
            not_found(&answer, &case)
        },
    ));
}

/// A body member named like a path parameter is the id of the same kind of resource.
fn unknown_in_the_body(target: &Target, cases: &mut Vec<Case>) {
    let is_id = |name: &str| {
        target
            .document()
            .operations()
            .iter()
            .any(|operation| operation.parameter(Location::Path, name).is_some())
    };
    for member in target.members().into_iter().filter(|member| is_id(&member.name)) {
        cases.push(target.case(
            404,
            format!("body {}: an unknown id", member.pointer),
            move |context, target, case| async move {
                let user = context.user().await?;
                let id = unknown_id(&context, &target, &member.schema);
                let request = target
                    .valid(&context, RequestPlan::without_effect(&user), Extent::Full)
                    .await?;
                let mut body = request.value().clone();
                if let Some(place) = body.pointer_mut(&member.pointer) {
                    *place = serde_json::from_str(&id).unwrap_or_else(|_| Value::from(id));
                }
                not_found(&request.with_json(&body).call(&context).send().await?, &case)
            },
        ));
    }
}

fn another_users(target: &Target, parameter: &Parameter, cases: &mut Vec<Case>) {
    let parameter = parameter.clone();
    let case =
        format!("path {}: another user's id is answered like an unknown one", parameter.name);
    cases.push(target.case(404, case, move |context, target, case| async move {
        let user = context.user().await?;
        if target.is_safe() {
            let owner = context.other_user(&user).await?;
            return refused_as_unknown(&context, &target, &parameter, &user, &owner, &case).await;
        }
        // Parallel cases must not change the owner's resources.
        let owner = context.own_user().await?;
        let before = target.snapshot(&context, &owner).await?;
        refused_as_unknown(&context, &target, &parameter, &user, &owner, &case).await?;
        target.unchanged(&context, &owner, before.as_ref(), &case).await
    }));
}

async fn refused_as_unknown(
    context: &Context,
    target: &Target,
    parameter: &Parameter,
    user: &User,
    owner: &User,
    case: &str,
) -> Result<(), Failure> {
    let owners =
        target.path_value(context, RequestPlan::without_effect(owner), &parameter.name).await?;
    let mut request =
        target.valid(context, RequestPlan::without_effect(owner), Extent::Full).await?;
    request.authorize(&user.token);
    let others = request
        .clone()
        .with(Location::Path, &parameter.name, &plain(&owners))
        .call(context)
        .send()
        .await?;
    not_found(&others, case)?;
    let unknown_id = unknown_id(context, target, &parameter.schema);
    let unknown_id =
        request.with(Location::Path, &parameter.name, &unknown_id).call(context).send().await?;
    not_found(&unknown_id, case)?;
    if let Some(member) = difference(others.json(), unknown_id.json()) {
        let message = format!(
            "{case}: expected equal problems except for `instance` and `request_id`, got different \
             values of `{member}`, which reveal the id"
        );
        return Err(others.fail(message).and(unknown_id.exchange()));
    }
    Ok(())
}

/// The first member in which two problems differ, except those about the request.
fn difference(one: &Value, other: &Value) -> Option<String> {
    let names = |problem: &Value| {
        problem
            .as_object()
            .map(|members| members.keys().cloned().collect::<Vec<_>>())
            .unwrap_or_default()
    };
    let mut all = names(one);
    all.extend(names(other));
    all.into_iter().find(|name| {
        !matches!(name.as_str(), "instance" | "request_id") && one.get(name) != other.get(name)
    })
}

fn not_found(answer: &Answer, case: &str) -> Result<(), Failure> {
    match answer.status {
        404 => Ok(()),
        status => Err(answer.fail(format!("{case}: expected 404, got {status}"))),
    }
}
