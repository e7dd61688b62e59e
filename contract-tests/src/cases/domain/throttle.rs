//! Rate limits: wrong passwords per account, registrations per client.

use futures_util::future::join_all;

use super::steps::{
    PASSWORD, WRONG_PASSWORD, equal, log_in, new_password, new_user, read_user, same_resource,
};
use crate::suite::{Answer, Call, Case, Context, Failure, User};

/// The limit must be reached within these attempts.
const ATTEMPTS: usize = 60;
/// The limit must be reached within these registrations.
const REGISTRATIONS: usize = 400;
/// Concurrency: sequential hashing could be slower than the limit.
const CONCURRENT_REQUESTS: usize = 4;

/// These run last: they lock accounts and count against the address.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("change_password", 429, "wrong current passwords are limited", changes_limited)
            .serial(),
        Case::new(
            "log_in",
            429,
            "wrong passwords are limited per account, and other users can log in",
            limited,
        )
        .serial(),
        Case::new("register", 429, "registrations are limited per client", registrations_limited)
            .serial(),
    ]
}

async fn changes_limited(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let before = read_user(&context, &user).await?;
    let wrong = || new_password(&context, &user.id, &user.token, WRONG_PASSWORD, PASSWORD);
    let refused = first_429(wrong, 403, ATTEMPTS).await?;
    rate_limited(&refused)?;
    same_resource(
        &read_user(&context, &user).await?,
        &before,
        "the user after wrong current passwords",
    )
}

async fn registrations_limited(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    // A taken name makes registrations cheap and leaves nothing behind.
    let register = || {
        let mut body = new_user(&context.fresh_name());
        body["username"] = user.username.as_str().into();
        context.call("register").json(&body)
    };
    let refused = first_429(register, 409, REGISTRATIONS).await?;
    rate_limited(&refused)
}

fn rate_limited(refused: &Answer) -> Result<(), Failure> {
    refused.problem("too_many_attempts")?;
    let wait = refused.header("retry-after")?;
    ensure!(
        wait.parse::<u32>().is_ok_and(|seconds| seconds > 0),
        refused,
        "expected a positive `Retry-After`, got {wait:?}"
    );
    Ok(())
}

async fn limited(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let other = context.other_user(&user).await?;
    let before = read_user(&context, &user).await?;
    let refused =
        first_429(|| log_in(&context, &user.username, WRONG_PASSWORD), 401, ATTEMPTS).await?;
    rate_limited(&refused)?;

    // Existing tokens and other users still work; the owner can log in later.
    same_resource(&read_user(&context, &user).await?, &before, "the user after wrong log-ins")?;
    can_log_in(&context, &other).await?;
    can_log_in(&context, &user).await
}

/// Expects a log-in within `Retry-After`; more than a minute is not tested.
async fn can_log_in(context: &Context, user: &User) -> Result<(), Failure> {
    let answer = log_in(context, &user.username, &user.password).send().await?;
    if answer.status == 429
        && answer.header("retry-after")?.parse::<u32>().is_ok_and(|seconds| seconds > 60)
    {
        return answer.problem("too_many_attempts");
    }
    equal(&answer, "the status of a log-in with the right password", &answer.status, &200)
}

/// Repeats a request that fails with `otherwise` until the response is 429.
async fn first_429(
    request: impl Fn() -> Call,
    otherwise: u16,
    most: usize,
) -> Result<Answer, Failure> {
    let mut last = None;
    for _ in 0..most / CONCURRENT_REQUESTS {
        let attempts = (0..CONCURRENT_REQUESTS).map(|_| request().once().send());
        for answer in join_all(attempts).await {
            let answer = answer?;
            match answer.status {
                429 => return Ok(answer),
                503 => last = Some(answer),
                status if status == otherwise => last = Some(answer),
                other => {
                    return Err(answer.fail(format!("expected {otherwise} or 429, got {other}")));
                }
            }
        }
    }
    let message = format!("expected 429 within {most} requests, got none");
    Err(last.map_or_else(|| Failure::new(message.clone()), |last| last.fail(message.clone())))
}
