//! Registration: its result, conflicts, and races.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::steps::{
    PASSWORD, email, equal, follow, log_in, new_password, new_user, no_password, other_case,
    read_user, same_resource, text, timestamp, token,
};
use crate::suite::{Answer, Case, Context, Failure};

/// Concurrent registrations; each may cost the server 128 MiB and half a second.
const RACERS: usize = 4;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "register",
            201,
            "registration creates the requested user without a session, and the names stay taken \
             after deactivation",
            registered_user,
        ),
        Case::new(
            "register",
            409,
            "sid, username and email are unique without regard to case",
            taken,
        ),
        Case::new("register", 409, "concurrent registrations of one name have one winner", race),
        Case::new(
            "register",
            400,
            "a refusal does not echo the password",
            refusal_omits_the_password,
        ),
        Case::new(
            "register",
            422,
            "common passwords and names as passwords are refused",
            common_password,
        ),
        Case::new(
            "change_password",
            422,
            "common passwords and names as passwords are refused",
            change_to_common_password,
        ),
    ]
}

async fn registered_user(context: Context) -> Result<(), Failure> {
    let name = context.fresh_name();
    let body = json!({ "sid": name, "username": format!("{name}.X"), "email": email(&other_case(&name)), "password": PASSWORD });
    let registered = context.call("register").json(&body).expect(201).await?;
    for member in ["sid", "username", "email"] {
        equal(&registered, &format!("`{member}`"), &registered.json()[member], &body[member])?;
    }
    equal(&registered, "`active`", &registered.json()["active"], &json!(true))?;
    ensure!(
        timestamp(&registered, "updated_at")? >= timestamp(&registered, "created_at")?,
        &registered,
        "`updated_at` must not be before `created_at`"
    );
    no_password(&registered)?;
    for member in ["access_token", "token"] {
        ensure!(
            registered.json().get(member).is_none(),
            &registered,
            "expected no session after registration, got the member `{member}`"
        );
    }
    // A load balancer may set a cookie; it must not work as a token.
    for cookie in registered.headers.get_all("set-cookie") {
        let pair = cookie.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        let listed = context.call("list_orders").header("cookie", pair).send().await?;
        ensure!(
            listed.status == 401,
            &listed,
            "expected no session after registration, got a cookie that lists orders"
        );
    }

    let id = text(&registered, "id")?;
    let token = token(&context, &format!("{name}.X"), PASSWORD).await?;
    same_resource(
        &follow(&context, &registered, registered.header("location")?, Some(&token)).await?,
        &registered,
        "the user at its `Location`",
    )?;
    context.call("deactivate_user").path("user_id", id).bearer(&token).expect(204).await?;

    let others = context.fresh_name();
    for (member, code) in MEMBERS {
        refused(&context, &others, member, &body[member], code).await?;
    }
    Ok(())
}

const MEMBERS: [(&str, &str); 3] =
    [("sid", "sid_taken"), ("username", "username_taken"), ("email", "email_taken")];

/// Expects a conflict on one member; all others are new.
async fn refused(
    context: &Context,
    fresh: &str,
    member: &str,
    value: &Value,
    code: &str,
) -> Result<Answer, Failure> {
    let mut body = new_user(fresh);
    body[member] = value.clone();
    let answer = context.call("register").json(&body).expect(409).await?;
    answer.problem(code)?;
    Ok(answer)
}

async fn taken(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let before = read_user(&context, &user).await?;
    let fresh = context.fresh_name();
    for (member, code) in MEMBERS {
        let value = text(&before, member)?;
        refused(&context, &fresh, member, &json!(value), code).await?;
        refused(&context, &fresh, member, &json!(other_case(value)), code).await?;
    }
    same_resource(
        &read_user(&context, &user).await?,
        &before,
        "the user after conflicting registrations",
    )?;
    // Refused registrations created no user.
    log_in(&context, &fresh, PASSWORD).expect(401).await?.problem("invalid_credentials")
}

async fn race(context: Context) -> Result<(), Failure> {
    let name = context.fresh_name();
    let racers = (0..RACERS).map(|racer| {
        // One username in both cases; all other members differ.
        let mut body = new_user(&context.fresh_name());
        body["username"] = json!(if racer % 2 == 0 { name.clone() } else { other_case(&name) });
        context.call("register").json(&body).send()
    });
    let answers = join_all(racers).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (won, lost): (Vec<&Answer>, Vec<&Answer>) =
        answers.iter().partition(|answer| answer.status == 201);
    ensure!(
        won.len() == 1,
        won.get(1).unwrap_or(&&answers[0]),
        "expected one winner of {RACERS} concurrent registrations, got {}",
        won.len()
    );
    for answer in &lost {
        equal(answer, "the status of a loser", &answer.status, &409)?;
        answer.problem("username_taken")?;
    }
    let token = token(&context, text(won[0], "username")?, PASSWORD).await?;
    let id = text(won[0], "id")?;
    let read = context.call("get_user").path("user_id", id).bearer(&token).expect(200).await?;
    same_resource(&read, won[0], "the user who won")?;
    context.call("deactivate_user").path("user_id", id).bearer(&token).expect(204).await.map(drop)
}

/// Every response is checked for the password. These requests fail because of the password or of
/// another member.
async fn refusal_omits_the_password(context: Context) -> Result<(), Failure> {
    // Too short, too long, and valid together with another fault.
    for (password, quantity) in [
        ("kite-77", json!(null)),
        (&"kite-77".repeat(19)[..129], json!(null)),
        (PASSWORD, json!(1)),
    ] {
        let mut body = new_user(&context.fresh_name());
        body["password"] = json!(password);
        if !quantity.is_null() {
            body["quantity"] = quantity;
        }
        let refused = context.call("register").json(&body).expect(400).await?;
        refused.problem("invalid_request")?;
    }
    Ok(())
}

/// On every list of common passwords.
const COMMON: [&str; 4] = ["trustno1", "football1", "QwertyUiop", "iloveyou1"];

async fn common_password(context: Context) -> Result<(), Failure> {
    let name = context.fresh_name();
    let own = [other_case(&name), email(&name)];
    for password in COMMON.into_iter().chain(own.iter().map(String::as_str)) {
        let mut body = new_user(&name);
        body["password"] = json!(password);
        context.call("register").json(&body).expect(422).await?.problem("guessable_password")?;
    }
    // The names stayed free.
    let registered = context.call("register").json(&new_user(&name)).expect(201).await?;
    let token = token(&context, &name, PASSWORD).await?;
    context
        .call("deactivate_user")
        .path("user_id", text(&registered, "id")?)
        .bearer(&token)
        .expect(204)
        .await
        .map(drop)
}

async fn change_to_common_password(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    for new in COMMON.into_iter().chain([user.username.as_str(), user.email.as_str()]) {
        let refused =
            new_password(&context, &user.id, &user.token, &user.password, new).expect(422).await?;
        refused.problem("guessable_password")?;
    }
    // Token and password still work.
    read_user(&context, &user).await?;
    token(&context, &user.username, &user.password).await.map(drop)
}
