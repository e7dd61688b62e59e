//! Wrong passwords are limited, for the one account and not for all; registrations for the client.

use futures_util::future::join_all;

use super::steps::{
    PASSWORD, WRONG_PASSWORD, equal, log_in, new_password, new_user, read_user, same_thing,
};
use crate::suite::{Answer, Call, Case, Context, Failure, User};

/// So many wrong attempts on one account must not be answered at this pace.
const ATTEMPTS: usize = 60;
/// Registrations by one client; the limit must be reached before all are answered.
const REGISTRATIONS: usize = 400;
/// How many are sent at the same time: one after the other, slow hashing alone could keep them
/// below the limit.
const AT_ONCE: usize = 4;

/// The last of all cases: they lock accounts for a while, and count against the address.
pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("change_password", 429, "wrong current passwords are limited", changes_limited)
            .alone(),
        Case::new(
            "log_in",
            429,
            "wrong attempts on one account are limited, and others can log in",
            limited,
        )
        .alone(),
        Case::new(
            "register",
            429,
            "registrations by one client are limited",
            registrations_limited,
        )
        .alone(),
    ]
}

async fn changes_limited(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let before = read_user(&context, &user).await?;
    let wrong = || new_password(&context, &user.id, &user.token, WRONG_PASSWORD, PASSWORD);
    let refused = first_429(wrong, 403, ATTEMPTS).await?;
    refused_for_a_while(&refused)?;
    same_thing(
        &read_user(&context, &user).await?,
        &before,
        "the user whose password was to be changed",
    )
}

async fn registrations_limited(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    // The name is taken, so that each costs the server little and leaves nothing behind.
    let register = || {
        let mut body = new_user(&context.fresh_name());
        body["username"] = user.username.as_str().into();
        context.call("register").json(&body)
    };
    let refused = first_429(register, 409, REGISTRATIONS).await?;
    refused_for_a_while(&refused)
}

/// Fails unless the answer is a 429 as the document has it.
fn refused_for_a_while(refused: &Answer) -> Result<(), Failure> {
    refused.problem("too_many_attempts")?;
    let wait = refused.header("retry-after")?;
    ensure!(
        wait.parse::<u32>().is_ok_and(|seconds| seconds > 0),
        refused,
        "`Retry-After` must be a positive number of seconds, but it is {wait:?}"
    );
    Ok(())
}

async fn limited(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let other = context.other_user(&user).await?;
    let before = read_user(&context, &user).await?;
    let refused =
        first_429(|| log_in(&context, &user.username, WRONG_PASSWORD), 401, ATTEMPTS).await?;
    refused_for_a_while(&refused)?;

    // Who is logged in stays so, others get in, and after a while the owner, too.
    same_thing(&read_user(&context, &user).await?, &before, "the user on whom attempts were made")?;
    gets_in(&context, &other).await?;
    gets_in(&context, &user).await
}

/// Fails unless the user gets in, at once or after as long as `Retry-After` says. If that is more
/// than a minute, it is believed.
async fn gets_in(context: &Context, user: &User) -> Result<(), Failure> {
    let answer = log_in(context, &user.username, &user.password).send().await?;
    if answer.status == 429
        && answer.header("retry-after")?.parse::<u32>().is_ok_and(|seconds| seconds > 60)
    {
        return answer.problem("too_many_attempts");
    }
    equal(&answer, "the status of a log-in with the right password", &answer.status, &200)
}

/// Sends a request that is refused with `otherwise` until one is answered with 429.
async fn first_429(
    request: impl Fn() -> Call,
    otherwise: u16,
    most: usize,
) -> Result<Answer, Failure> {
    let mut last = None;
    for _ in 0..most / AT_ONCE {
        let attempts = (0..AT_ONCE).map(|_| request().once().send());
        for answer in join_all(attempts).await {
            let answer = answer?;
            match answer.status {
                429 => return Ok(answer),
                // Too busy to look.
                503 => last = Some(answer),
                status if status == otherwise => last = Some(answer),
                other => {
                    return Err(Failure::of(
                        &answer,
                        format!(
                            "such an attempt must be answered with {otherwise} or 429, but it was {other}"
                        ),
                    ));
                }
            }
        }
    }
    let message = format!("such attempts are limited, but {most} were answered at this pace");
    Err(last
        .map_or_else(|| Failure::new(message.clone()), |last| Failure::of(&last, message.clone())))
}
