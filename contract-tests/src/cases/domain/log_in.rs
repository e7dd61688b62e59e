//! Logging in: nobody learns who there is, and a rush of log-ins keeps nobody out.

use futures_util::future::{join, join_all};

use super::{
    pages::Pages,
    steps::{WRONG_PASSWORD, equal, log_in, other_case, same_problem, text, token},
};
use crate::suite::{Case, Context, Failure};

/// How many try to log in at the same time. Each may cost the server as much as a hash.
const RUSH: usize = 12;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("log_in", 401, "an unknown name and a wrong password are one answer", one_answer),
        Case::new(
            "log_in",
            200,
            "a username in another case is the same user or nobody",
            username_in_another_case,
        ),
        Case::new("log_in", 200, "a rush of log-ins keeps nobody out", rush).alone(),
    ]
}

async fn one_answer(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let nobody = context.fresh_name();
    let unknown = log_in(&context, &nobody, &user.password).expect(401).await?;
    unknown.problem("invalid_credentials")?;
    // Wrong, right but for its case, right but for a space, and one that could not be registered.
    for password in [
        WRONG_PASSWORD.to_owned(),
        other_case(&user.password),
        format!("{} ", user.password),
        "x".to_owned(),
    ] {
        let refused = log_in(&context, &user.username, &password).expect(401).await?;
        refused.problem("invalid_credentials")?;
        same_problem(
            &refused,
            &unknown,
            [&user.username, &nobody],
            "the answer to a wrong password, held against the one for an unknown name,",
        )?;
    }
    Ok(())
}

/// The document has usernames unique without regard to case, and does not say whether log-in has
/// regard to it.
async fn username_in_another_case(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let answer = log_in(&context, &other_case(&user.username), &user.password).send().await?;
    if answer.status == 401 {
        return answer.problem("invalid_credentials");
    }
    equal(&answer, "the status", &answer.status, &200)?;
    equal(&answer, "`user_id`", text(&answer, "user_id")?, user.id.as_str())
}

async fn rush(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let names: Vec<String> = (0..RUSH).map(|_| context.fresh_name()).collect();
    let attempts =
        join_all(names.iter().map(|name| log_in(&context, name, WRONG_PASSWORD).once().send()));
    // Meanwhile the catalogue is open.
    let (attempts, catalogue) = join(attempts, Pages::of_products(&context, None)).await;
    for attempt in attempts {
        let attempt = attempt?;
        ensure!(
            [401, 429, 503].contains(&attempt.status),
            &attempt,
            "an attempt of {RUSH} at the same time must be answered with 401, or with 429 or 503 for want of room, but it was {}",
            attempt.status
        );
    }
    catalogue?;
    token(&context, &user.username, &user.password).await.map(drop)
}
