//! Attempts to log in are limited, for the one account and not for all.

use futures_util::future::join_all;

use super::steps::{WRONG_PASSWORD, equal, log_in, read_user, same_thing};
use crate::suite::{Answer, Case, Context, Failure, User};

/// So many wrong attempts on one account must not be answered at this pace.
const ATTEMPTS: usize = 60;
/// How many are sent at the same time: one after the other, slow hashing alone could keep them below the limit.
const AT_ONCE: usize = 4;

/// One case, the last of all: it locks an account for a while, and counts against the address.
pub(super) fn cases() -> Vec<Case> {
    vec![Case::new("log_in", 429, "wrong attempts on one account are limited, and others can log in", limited).alone()]
}

async fn limited(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let other = context.other_user(&user).await?;
    let before = read_user(&context, &user).await?;
    let refused = first_429(&context, &user.username).await?;
    refused.problem("too_many_attempts")?;
    let wait = refused.header("retry-after")?;
    ensure!(
        wait.parse::<u32>().is_ok_and(|seconds| seconds > 0),
        &refused,
        "`Retry-After` must be a positive number of seconds, but it is {wait:?}"
    );

    // Who is logged in stays so, others get in, and after a while the owner, too.
    same_thing(&read_user(&context, &user).await?, &before, "the user on whom attempts were made")?;
    gets_in(&context, &other).await?;
    gets_in(&context, &user).await
}

/// Fails unless the user gets in, at once or after as long as `Retry-After` says. If that is more than a minute, it is believed.
async fn gets_in(context: &Context, user: &User) -> Result<(), Failure> {
    let answer = log_in(context, &user.username, &user.password).send().await?;
    if answer.status == 429 && answer.header("retry-after")?.parse::<u32>().is_ok_and(|seconds| seconds > 60) {
        return answer.problem("too_many_attempts");
    }
    equal(&answer, "the status of a log-in with the right password", &answer.status, &200)
}

/// Tries wrong passwords until one attempt is answered with 429.
async fn first_429(context: &Context, username: &str) -> Result<Answer, Failure> {
    let mut last = None;
    for _ in 0..ATTEMPTS / AT_ONCE {
        let attempts = (0..AT_ONCE).map(|_| log_in(context, username, WRONG_PASSWORD).once().send());
        for answer in join_all(attempts).await {
            let answer = answer?;
            match answer.status {
                429 => return Ok(answer),
                // Refused, or too busy to look.
                401 | 503 => last = Some(answer),
                other => {
                    return Err(Failure::of(
                        &answer,
                        format!("an attempt with a wrong password must be answered with 401 or 429, but it was {other}"),
                    ));
                }
            }
        }
    }
    let message = format!("attempts to log in are limited for each account, but {ATTEMPTS} with a wrong password were not");
    Err(last.map_or_else(|| Failure::new(message.clone()), |last| Failure::of(&last, message.clone())))
}
