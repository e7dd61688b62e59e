//! Examples of the document: requests are sent, responses are validated against their schemas.

use serde_json::Value;

use super::{
    NO_VERSION, UNDECLARED,
    expectations::{self, FaultLocation},
    members::{self, Extent},
    target::{RequestPlan, Target, plain},
};
use crate::{
    document::{Location, Parameter},
    suite::{Case, Context, Failure, Lease, User},
};

pub(super) fn cases(target: &Target) -> Vec<Case> {
    let mut cases = of_answers(target);
    cases.push(whole_request(target));
    cases.extend(of_bodies(target));
    for parameter in &target.operation().parameters {
        cases.extend(valid(target, parameter));
        cases.extend(of_parameter(target, parameter));
    }
    cases
}

enum Caller {
    Shared(User),
    Own(Lease),
    Disposable(User),
}

impl Caller {
    async fn for_success(context: &Context, target: &Target) -> Result<Self, Failure> {
        let operation = target.operation();
        Ok(if !operation.secured && !target.returns_a_token() || target.is_safe() {
            Self::Shared(context.user().await?)
        } else if operation.method == reqwest::Method::DELETE
            && operation.path.ends_with("{user_id}")
        {
            Self::Disposable(context.disposable_user().await?)
        } else {
            Self::Own(context.own_user().await?)
        })
    }

    fn user(&self) -> &User {
        match self {
            Self::Shared(user) | Self::Disposable(user) => user,
            Self::Own(lease) => lease,
        }
    }
}

/// A request from the examples of all members and required parameters. Unique values, secrets and
/// ids are replaced by usable ones.
fn whole_request(target: &Target) -> Case {
    target.case(
        target.success(),
        "a request made from the examples",
        |context, target, case| async move {
            let caller = Caller::for_success(&context, &target).await?;
            let request =
                target.valid(&context, RequestPlan::effective(caller.user()), Extent::Full).await?;
            let answer = request.call(&context).send().await?;
            if answer.status == target.success() {
                return Ok(());
            }
            Err(answer.fail(format!(
                "{case}: expected {}, got {}",
                target.success(),
                answer.status
            )))
        },
    )
}

/// The examples of a body, unmodified. The resource may be missing or exist already.
fn of_bodies(target: &Target) -> Vec<Case> {
    let Some(body) = &target.operation().request_body else { return Vec::new() };
    let schema = target.body().cloned().unwrap_or_default();
    let mut cases = Vec::new();
    for (name, example) in &body.examples {
        let (schema, held) = (schema.clone(), example.clone());
        cases.push(target.case(
            target.success(),
            format!("the example {name} of the body matches its schema"),
            move |_, target, case| async move { validated(&target, &schema, &held, &case) },
        ));
        cases.extend(unmodified(target, name, example));
    }
    cases
}

/// If it contains a password, the example is sent together with another fault. Its password is
/// public, and a log-in with it would be counted.
fn unmodified(target: &Target, name: &str, example: &Value) -> Option<Case> {
    if target.takes_a_password() {
        let body = members::with_member(example, "", UNDECLARED, Value::Null)?;
        let case = format!("the example {name} of the body, beside another fault");
        return Some(target.case(400, case, move |context, target, case| async move {
            let user = context.user().await?;
            let request = target
                .valid(&context, RequestPlan::without_effect(&user), Extent::Required)
                .await?
                .with_json(&body);
            let answer = request.call(&context).send().await?;
            expectations::refused(
                &answer,
                &case,
                &[FaultLocation::member_or_parent(&format!("/{UNDECLARED}"))],
                None,
            )
        }));
    }
    let example = example.clone();
    let case = format!("the example {name} of the body, unmodified");
    Some(target.case(target.success(), case, move |context, target, case| async move {
        let user = context.user().await?;
        let mut request = target
            .valid(&context, RequestPlan::without_effect(&user), Extent::Required)
            .await?
            .with_json(&example);
        if target.header("If-Match").is_some() {
            // Prevents the change.
            request.set(Location::Header, "If-Match", NO_VERSION);
        }
        expectations::accepted(&request.call(&context).send().await?, &case)
    }))
}

fn of_parameter(target: &Target, parameter: &Parameter) -> Option<Case> {
    let example = parameter.example.clone()?;
    let parameter = parameter.clone();
    let case = format!("the example of the parameter {}, unmodified", parameter.name);
    Some(target.case(target.success(), case, move |context, target, case| async move {
        let user = context.user().await?;
        let request =
            target.valid(&context, RequestPlan::without_effect(&user), Extent::Required).await?;
        let answer = request
            .with(parameter.location, &parameter.name, &plain(&example))
            .call(&context)
            .send()
            .await?;
        expectations::accepted(&answer, &case)
    }))
}

fn valid(target: &Target, parameter: &Parameter) -> Option<Case> {
    let (example, schema) = (parameter.example.clone()?, parameter.schema.clone());
    let case = format!("the example of the parameter {} matches its schema", parameter.name);
    Some(target.case(target.success(), case, move |_, target, case| async move {
        validated(&target, &schema, &example, &case)
    }))
}

/// Examples of responses, and those that their members' examples compose.
fn of_answers(target: &Target) -> Vec<Case> {
    let mut cases = Vec::new();
    let responses = members::at(
        target.document(),
        &[
            "paths",
            &target.operation().path,
            &target.operation().method.as_str().to_lowercase(),
            "responses",
        ],
    );
    for (status, response) in responses.and_then(Value::as_object).into_iter().flatten() {
        let Ok(number) = status.parse() else { continue };
        let response = target.document().resolve(response);
        for (name, schema, example) in examples_of(target, response) {
            cases.push(target.case(
                number,
                format!("the example {name} of {status} matches its schema"),
                move |_, target, case| async move { validated(&target, &schema, &example, &case) },
            ));
        }
    }
    cases
}

fn examples_of(target: &Target, response: &Value) -> Vec<(String, Value, Value)> {
    let document = target.document();
    let mut examples = Vec::new();
    for content in response["content"].as_object().into_iter().flat_map(|content| content.values())
    {
        let schema = &content["schema"];
        let named = content["examples"].as_object().into_iter().flatten();
        examples.extend(named.map(|(name, example)| {
            (name.clone(), schema.clone(), document.resolve(example)["value"].clone())
        }));
        examples.extend(
            content
                .get("example")
                .map(|example| ("example".to_owned(), schema.clone(), example.clone())),
        );
        examples.extend(
            document.example(schema).map(|example| ("schema".to_owned(), schema.clone(), example)),
        );
    }
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let header = document.resolve(header);
        examples.extend(
            header
                .get("example")
                .map(|example| (name.clone(), header["schema"].clone(), example.clone())),
        );
    }
    examples
}

fn validated(target: &Target, schema: &Value, example: &Value, case: &str) -> Result<(), Failure> {
    match target.document().validate(schema, example) {
        Some(faults) if faults.is_empty() => Ok(()),
        Some(faults) => Err(Failure::new(format!(
            "{case}: expected a valid example, got\n- {}",
            faults.join("\n- ")
        ))),
        None => Err(Failure::new(format!("{case}: expected a valid schema"))),
    }
}
