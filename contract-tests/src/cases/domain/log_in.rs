//! Log-in: it does not reveal users, and parallel log-ins do not lock anyone out.

use futures_util::future::{join, join_all};

use super::{
    pages::Pages,
    steps::{WRONG_PASSWORD, equal, log_in, other_case, same_problem, text, token},
};
use crate::suite::{Case, Context, Failure};

/// Concurrent log-ins; each may cost the server a hash.
const CONCURRENT_LOG_INS: usize = 12;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "log_in",
            401,
            "an unknown name and a wrong password get the same response",
            same_response,
        ),
        Case::new(
            "log_in",
            200,
            "a username in another case logs in the same user or is refused",
            username_in_another_case,
        ),
        Case::new("log_in", 200, "concurrent log-ins do not lock the user out", concurrent_log_ins)
            .serial(),
    ]
}

async fn same_response(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let unknown_name = context.fresh_name();
    let unknown = log_in(&context, &unknown_name, &user.password).expect(401).await?;
    unknown.problem("invalid_credentials")?;
    // Wrong, in another case, with an extra space, and too short to be registered.
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
            [&user.username, &unknown_name],
            "the response to a wrong password, compared with an unknown name,",
        )?;
    }
    Ok(())
}

/// Usernames are unique without regard to case; the document leaves open whether log-in ignores
/// case.
async fn username_in_another_case(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let answer = log_in(&context, &other_case(&user.username), &user.password).send().await?;
    if answer.status == 401 {
        return answer.problem("invalid_credentials");
    }
    equal(&answer, "the status", &answer.status, &200)?;
    equal(&answer, "`user_id`", text(&answer, "user_id")?, user.id.as_str())
}

async fn concurrent_log_ins(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let names: Vec<String> = (0..CONCURRENT_LOG_INS).map(|_| context.fresh_name()).collect();
    let attempts =
        join_all(names.iter().map(|name| log_in(&context, name, WRONG_PASSWORD).once().send()));
    let (attempts, catalogue) = join(attempts, Pages::of_products(&context, None)).await;
    for attempt in attempts {
        let attempt = attempt?;
        ensure!(
            [401, 429, 503].contains(&attempt.status),
            &attempt,
            "expected 401, 429 or 503 for one of {CONCURRENT_LOG_INS} concurrent log-ins, got {}",
            attempt.status
        );
    }
    catalogue?;
    token(&context, &user.username, &user.password).await.map(drop)
}
