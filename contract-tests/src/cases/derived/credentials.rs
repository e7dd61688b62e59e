//! Tokens that are missing, malformed, forged, expired or another user's. Operations that need no
//! token.

use serde_json::json;

use super::{
    UNDECLARED,
    members::{self, Extent},
    request::Request,
    target::{RequestPlan, Target},
    tokens,
};
use crate::suite::{Answer, Case, Context, Failure, Requirement, User};

pub(super) fn cases(target: &Target) -> Vec<Case> {
    if !target.operation().secured {
        return unsecured(target);
    }
    let mut cases = Vec::new();
    if target.declares(401) {
        refused(target, &mut cases);
        expired(target, &mut cases);
    }
    taken(target, &mut cases);
    cases
}

/// Values of `Authorization`, made from the tokens of a user and of another.
type Forgery = fn(&str, &str) -> Vec<String>;

const FORGERIES: [(&str, Forgery); 22] = [
    ("no token", |_, _| Vec::new()),
    ("an empty Authorization", |_, _| one("")),
    ("another scheme", |_, _| one("Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==")),
    ("the token as another scheme", |token, _| vec![format!("Basic {token}")]),
    ("the token without a scheme", |token, _| one(token)),
    ("the scheme alone", |_, _| one("Bearer")),
    ("the scheme and a space", |_, _| one("Bearer ")),
    ("the scheme twice", |token, _| vec![format!("Bearer Bearer {token}")]),
    ("one word as a token", |_, _| one("Bearer x")),
    ("three words with dots", |_, _| one("Bearer a.b.c")),
    ("the token in quotes", |token, _| vec![format!("Bearer \"{token}\"")]),
    ("a token with trailing text", |token, _| vec![format!("Bearer {token} x")]),
    ("two Authorization headers", |token, other| {
        vec![format!("Bearer {token}"), format!("Bearer {other}")]
    }),
    ("a truncated token", |token, _| vec![format!("Bearer {}", tokens::truncated(token))]),
    ("an extended token", |token, _| vec![format!("Bearer {token}AAAA")]),
    ("a token with one character of its signature changed", |token, _| {
        vec![format!("Bearer {}", tokens::other_signature(token))]
    }),
    ("a token without its signature", |token, _| {
        vec![format!("Bearer {}", tokens::without_signature(token))]
    }),
    ("a token with the signature of another", |token, other| {
        vec![format!("Bearer {}", tokens::signature_of(token, other))]
    }),
    ("a token with a later expiry than was signed", |token, _| {
        vec![format!("Bearer {}", tokens::valid_for_longer(token))]
    }),
    ("a token whose algorithm is none", |token, _| {
        vec![format!("Bearer {}", tokens::unsigned(token, "none"))]
    }),
    ("a token whose algorithm is nOnE", |token, _| {
        vec![format!("Bearer {}", tokens::unsigned(token, "nOnE"))]
    }),
    ("a token signed with another key", |token, _| {
        vec![format!("Bearer {}", tokens::signed_with(token, tokens::KEY))]
    }),
];

fn one(value: &str) -> Vec<String> {
    vec![value.to_owned()]
}

fn refused(target: &Target, cases: &mut Vec<Case>) {
    for (what, forgery) in FORGERIES {
        cases.push(target.case(
            401,
            format!("credentials: {what}"),
            move |context, target, case| async move {
                unauthorized(&context, &target, &case, |user, other| {
                    forgery(&user.token, &other.token)
                })
                .await
            },
        ));
    }
    // An empty key is a likely misconfiguration.
    cases.push(target.case(
        401,
        "credentials: a token signed with an empty key",
        |context, target, case| async move {
            unauthorized(&context, &target, &case, |user, _| {
                vec![format!("Bearer {}", tokens::signed_with(&user.token, b""))]
            })
            .await
        },
    ));
}

fn expired(target: &Target, cases: &mut Vec<Case>) {
    let case =
        target.case(401, "credentials: an expired token", |context, target, case| async move {
            let token = context
                .expired_token()
                .ok_or_else(|| Failure::new("there is no expired token"))?
                .to_owned();
            unauthorized(&context, &target, &case, |_, _| vec![format!("Bearer {token}")]).await
        });
    cases.push(case.requires(Requirement::ExpiredToken));
}

/// Expects 401 for a request with invalid credentials, and no change.
async fn unauthorized(
    context: &Context,
    target: &Target,
    case: &str,
    forgery: impl FnOnce(&User, &User) -> Vec<String>,
) -> Result<(), Failure> {
    if target.is_safe() {
        let user = context.user().await?;
        return challenged(&sent(context, target, &user, forgery).await?, case);
    }
    // Parallel cases must not change this user.
    let user = context.own_user().await?;
    let before = target.snapshot(context, &user).await?;
    challenged(&sent(context, target, &user, forgery).await?, case)?;
    target.unchanged(context, &user, before.as_ref(), case).await
}

async fn sent(
    context: &Context,
    target: &Target,
    user: &User,
    forgery: impl FnOnce(&User, &User) -> Vec<String>,
) -> Result<Answer, Failure> {
    let other = context.other_user(user).await?;
    let request = target.valid(context, RequestPlan::without_effect(user), Extent::Full).await?;
    request.authorization(&forgery(user, &other)).call(context).send().await
}

/// `WWW-Authenticate` names the scheme (RFC 9110 §11.6.1). `code` is `token_missing` or
/// `token_invalid`; ambiguous credentials may have either.
fn challenged(answer: &Answer, case: &str) -> Result<(), Failure> {
    if answer.status == 400 && answer.request().is_malformed() {
        return answer.problem("invalid_request");
    }
    if answer.status != 401 {
        return Err(answer.fail(format!(
            "{case}: expected 401, got {}: these credentials are invalid",
            answer.status
        )));
    }
    let challenge = answer.header("www-authenticate")?;
    let scheme = challenge.split([' ', ',']).next().unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(
            answer.fail(format!("WWW-Authenticate: expected the scheme Bearer, got {challenge:?}"))
        );
    }
    let sent: Vec<&str> = answer
        .request()
        .headers
        .iter()
        .filter(|(name, _)| name == "authorization")
        .filter_map(|(_, value)| value.to_str().ok())
        .collect();
    match sent.as_slice() {
        [] => answer.problem("token_missing"),
        [one]
            if one.strip_prefix("Bearer ").is_some_and(|token| {
                token.split('.').count() == 3 && !token.contains([' ', '"'])
            }) =>
        {
            answer.problem("token_invalid")
        }
        _ => answer.problem("token_missing").or_else(|_| answer.problem("token_invalid")),
    }
}

/// Scheme names ignore case (RFC 9110 §11.1).
fn taken(target: &Target, cases: &mut Vec<Case>) {
    let fault = target.body().is_some_and(|schema| schema["additionalProperties"] == false);
    if !target.is_safe() && !fault {
        return;
    }
    for scheme in ["bearer", "BEARER"] {
        let status = if target.is_safe() { target.success() } else { 400 };
        cases.push(target.case(
            status,
            format!("credentials: a valid token as {scheme}"),
            move |context, target, case| async move {
                let user = context.user().await?;
                let request = with_a_fault(
                    &target,
                    target
                        .valid(&context, RequestPlan::without_effect(&user), Extent::Full)
                        .await?,
                );
                let answer = request
                    .authorization(&[format!("{scheme} {}", user.token)])
                    .call(&context)
                    .send()
                    .await?;
                if answer.status == status {
                    return Ok(());
                }
                Err(answer.fail(format!(
                    "{case}: schemes are without regard to case (RFC 9110 §11.1), so expected \
                     {status}, got {}",
                    answer.status
                )))
            },
        ));
    }
}

/// Operations without security ignore tokens.
fn unsecured(target: &Target) -> Vec<Case> {
    let broken = [
        ("a token that is none", one("Bearer x")),
        ("another scheme", one("Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==")),
        ("nothing", one("")),
        ("two tokens", vec!["Bearer x".to_owned(), "Bearer y".to_owned()]),
    ];
    let status = if target.is_safe() { target.success() } else { 400 };
    let case = |(what, values): (&str, Vec<String>)| {
        target.case(
            status,
            format!("no token is required, with {what} as Authorization"),
            move |context, target, case| async move {
                let user = context.user().await?;
                let request = with_a_fault(
                    &target,
                    target
                        .valid(&context, RequestPlan::without_effect(&user), Extent::Full)
                        .await?,
                );
                let answer = request.authorization(&values).call(&context).send().await?;
                if answer.status == status
                    || (answer.status == 400 && answer.request().is_malformed())
                {
                    return Ok(());
                }
                Err(answer.fail(format!(
                    "{case}: the document says `security: []`, so expected {status}, got {}",
                    answer.status
                )))
            },
        )
    };
    broken.into_iter().map(case).collect()
}

/// Adds an undeclared member, so that an operation changes nothing and reports the other faults.
fn with_a_fault(target: &Target, request: Request) -> Request {
    if target.is_safe() {
        return request;
    }
    match members::with_member(request.value(), "", UNDECLARED, json!(1)) {
        Some(body) => request.with_json(&body),
        None => request,
    }
}
