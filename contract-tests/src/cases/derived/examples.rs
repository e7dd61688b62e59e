//! The examples of the document: of requests, sent; of answers, held against their schemas.

use serde_json::Value;

use super::{
    NO_VERSION, UNDECLARED,
    members::{self, Extent},
    target::{As, Target, plain},
    verdict::{self, Spot},
};
use crate::{
    document::{Location, Parameter},
    suite::{Case, Context, Failure, Lease, User},
};

pub(super) fn cases(target: &Target) -> Vec<Case> {
    let mut cases = of_answers(target);
    cases.push(of_the_whole(target));
    cases.extend(of_bodies(target));
    for parameter in &target.operation().parameters {
        cases.extend(valid(target, parameter));
        cases.extend(of_parameter(target, parameter));
    }
    cases
}

/// Whose request it is that succeeds.
enum Who {
    Shared(User),
    Own(Lease),
    Disposable(User),
}

impl Who {
    /// What an operation does to its user decides which one it gets.
    async fn for_success(context: &Context, target: &Target) -> Result<Self, Failure> {
        let operation = target.operation();
        Ok(if !operation.secured && !target.gives_a_token() || target.is_safe() {
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

/// A request made of the examples of all members and required parameters; of what is unique, secret
/// or an id, with one that is good here.
fn of_the_whole(target: &Target) -> Case {
    target.case(
        target.success(),
        "a request made of the examples",
        |context, target, case| async move {
            let who = Who::for_success(&context, &target).await?;
            let request = target.good(&context, As::in_earnest(who.user()), Extent::Full).await?;
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

/// The examples of a body as they stand. Whatever they are about may not be there, or be there
/// already, but they are allowed.
fn of_bodies(target: &Target) -> Vec<Case> {
    let Some(body) = &target.operation().request_body else { return Vec::new() };
    let schema = target.body().cloned().unwrap_or_default();
    let mut cases = Vec::new();
    for (name, example) in &body.examples {
        let (schema, held) = (schema.clone(), example.clone());
        cases.push(target.case(
            target.success(),
            format!("the example {name} of the body is as its schema says"),
            move |_, target, case| async move { held_against(&target, &schema, &held, &case) },
        ));
        cases.extend(as_it_stands(target, name, example));
    }
    cases
}

/// Where a password is part of it, an example is sent beside a fault, so that nothing comes of it
/// but that it is seen to be allowed: the password of an example is public, and an attempt to log
/// in with it is counted.
fn as_it_stands(target: &Target, name: &str, example: &Value) -> Option<Case> {
    if target.takes_a_password() {
        let body = members::with_member(example, "", UNDECLARED, Value::Null)?;
        let case = format!("the example {name} of the body, beside a fault elsewhere");
        return Some(target.case(400, case, move |context, target, case| async move {
            let user = context.user().await?;
            let request =
                target.good(&context, As::harmless(&user), Extent::Least).await?.with_json(&body);
            let answer = request.call(&context).send().await?;
            verdict::refused(&answer, &case, &[Spot::at_or_around(&format!("/{UNDECLARED}"))], None)
        }));
    }
    let example = example.clone();
    let case = format!("the example {name} of the body, as it stands");
    Some(target.case(target.success(), case, move |context, target, case| async move {
        let user = context.user().await?;
        let mut request =
            target.good(&context, As::harmless(&user), Extent::Least).await?.with_json(&example);
        if target.header("If-Match").is_some() {
            // It is to be allowed, not to be done.
            request.set(Location::Header, "If-Match", NO_VERSION);
        }
        verdict::accepted(&request.call(&context).send().await?, &case)
    }))
}

fn of_parameter(target: &Target, parameter: &Parameter) -> Option<Case> {
    let example = parameter.example.clone()?;
    let parameter = parameter.clone();
    let case = format!("the example of the parameter {}, as it stands", parameter.name);
    Some(target.case(target.success(), case, move |context, target, case| async move {
        let user = context.user().await?;
        let request = target.good(&context, As::harmless(&user), Extent::Least).await?;
        let answer = request
            .with(parameter.location, &parameter.name, &plain(&example))
            .call(&context)
            .send()
            .await?;
        verdict::accepted(&answer, &case)
    }))
}

/// The example of a parameter by its schema.
fn valid(target: &Target, parameter: &Parameter) -> Option<Case> {
    let (example, schema) = (parameter.example.clone()?, parameter.schema.clone());
    let case = format!("the example of the parameter {} is as its schema says", parameter.name);
    Some(target.case(target.success(), case, move |_, target, case| async move {
        held_against(&target, &schema, &example, &case)
    }))
}

/// The examples of answers, and what the examples of their members come to.
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
            cases.push(
                target.case(
                    number,
                    format!("the example {name} of {status} is as its schema says"),
                    move |_, target, case| async move {
                        held_against(&target, &schema, &example, &case)
                    },
                ),
            );
        }
    }
    cases
}

/// Name, schema and value of all examples of a response: of its body and its headers.
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

fn held_against(
    target: &Target,
    schema: &Value,
    example: &Value,
    case: &str,
) -> Result<(), Failure> {
    match target.document().validate(schema, example) {
        Some(faults) if faults.is_empty() => Ok(()),
        Some(faults) => Err(Failure::new(format!("{case}: it is not:\n- {}", faults.join("\n- ")))),
        None => Err(Failure::new(format!("{case}: its schema is none"))),
    }
}
