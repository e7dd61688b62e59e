//! Users as their owners change them: only what is sent, only one's own, and never over a change
//! that was not seen.

use futures_util::future::join;
use serde_json::{Value, json};

use super::steps::{
    change, email, equal, moment, new_password, no_password, other_case, read_user, same_problem,
    same_thing, text,
};
use crate::suite::{Answer, Call, Case, Context, Failure, User};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("update_user", 200, "only what is sent is changed", only_what_is_sent),
        Case::new(
            "update_user",
            200,
            "one's own names in another case are not taken",
            own_name_in_another_case,
        ),
        Case::new(
            "update_user",
            409,
            "what another user has is taken, and nothing is changed",
            taken,
        ),
        Case::new(
            "update_user",
            409,
            "of two who want one email at the same time, one gets it",
            race_for_an_email,
        )
        .alone(),
        Case::new(
            "update_user",
            412,
            "a change over another that was not seen is refused, and nothing is changed",
            stale,
        ),
        Case::new(
            "update_user",
            412,
            "of two changes of one version at the same time, one is done",
            race_for_a_version,
        ),
        Case::new(
            "get_user",
            404,
            "somebody else's user is as one that does not exist, to every operation",
            somebody_elses,
        ),
    ]
}

/// Runs a case on a user whose names it changes, and gives the names back whatever came of it.
async fn with_names_restored<F>(context: &Context, user: &User, case: F) -> Result<(), Failure>
where
    F: AsyncFnOnce() -> Result<(), Failure>,
{
    let outcome = case().await;
    let restored =
        change(context, user, &json!({ "username": user.username, "email": user.email }))
            .expect(200)
            .await;
    outcome?;
    restored.map(drop)
}

async fn only_what_is_sent(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    with_names_restored(&context, &user, async || {
        let name = context.fresh_name();
        let mut before = read_user(&context, &user).await?;
        for body in [
            json!({ "email": email(&name) }),
            json!({ "username": name }),
            json!({ "username": user.username, "email": user.email }),
            json!({}),
        ] {
            let after = change(&context, &user, &body).expect(200).await?;
            changed_by(&body, &before, &after)?;
            let read = read_user(&context, &user).await?;
            same_thing(&read, &after, "the user that is read after the change")?;
            before = read;
        }
        Ok(())
    })
    .await
}

/// Fails unless `after` is `before` with the members of `body` in the place of its own, and a later
/// version.
fn changed_by(body: &Value, before: &Answer, after: &Answer) -> Result<(), Failure> {
    for member in ["id", "sid", "username", "email", "active", "created_at"] {
        let wanted = body.get(member).unwrap_or(&before.json()[member]);
        equal(
            after,
            &format!("`{member}` after the change {body}"),
            &after.json()[member],
            wanted,
        )?;
    }
    ensure!(
        moment(after, "updated_at")? >= moment(before, "updated_at")?,
        after,
        "`updated_at` must not go back, but before the change it was {}",
        before.json()["updated_at"]
    );
    no_password(after)?;
    if after.json() != before.json() {
        ensure!(
            after.header("etag")? != before.header("etag")?,
            after,
            "the user has changed, so the entity tag must not be the same as before"
        );
    }
    Ok(())
}

async fn own_name_in_another_case(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    with_names_restored(&context, &user, async || {
        let body =
            json!({ "username": other_case(&user.username), "email": other_case(&user.email) });
        let before = read_user(&context, &user).await?;
        let after = change(&context, &user, &body).expect(200).await?;
        changed_by(&body, &before, &after)
    })
    .await
}

async fn taken(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let other = context.other_user(&user).await?;
    let before = read_user(&context, &user).await?;
    let free = context.fresh_name();
    for (body, code) in [
        (json!({ "username": other.username }), "username_taken"),
        (json!({ "username": other_case(&other.username) }), "username_taken"),
        (json!({ "email": other.email }), "email_taken"),
        (json!({ "email": other_case(&other.email) }), "email_taken"),
        // One that is free beside one that is taken: both or nothing.
        (json!({ "username": free, "email": other.email }), "email_taken"),
        (json!({ "username": other.username, "email": email(&free) }), "username_taken"),
    ] {
        change(&context, &user, &body).expect(409).await?.problem(code)?;
    }
    same_thing(&read_user(&context, &user).await?, &before, "the user after refused changes")
}

async fn race_for_an_email(context: Context) -> Result<(), Failure> {
    let user = context.user().await?;
    let other = context.other_user(&user).await?;
    let wanted = email(&context.fresh_name());
    let (body, same_body) = (json!({ "email": wanted }), json!({ "email": other_case(&wanted) }));
    let (one, two) =
        join(change(&context, &user, &body).send(), change(&context, &other, &same_body).send())
            .await;
    let restored = join(
        change(&context, &user, &json!({ "email": user.email })).expect(200),
        change(&context, &other, &json!({ "email": other.email })).expect(200),
    )
    .await;
    let (one, two) = (one?, two?);
    let lost = one_of_two(&one, &two, 409, "who want one email at the same time")?;
    lost.problem("email_taken")?;
    restored.0?;
    restored.1.map(drop)
}

/// Fails unless one of two answers is 200 and the other has the status `refused`: that other one.
fn one_of_two<'a>(
    one: &'a Answer,
    two: &'a Answer,
    refused: u16,
    who: &str,
) -> Result<&'a Answer, Failure> {
    let (won, lost) = if one.status == 200 { (one, two) } else { (two, one) };
    ensure!(
        won.status == 200,
        won,
        "of two {who}, one must get 200, but one got {} and the other {}",
        one.status,
        two.status
    );
    ensure!(
        lost.status == refused,
        lost,
        "of two {who}, one must get {refused}, but it got {}",
        lost.status
    );
    Ok(lost)
}

fn if_match(call: Call, tag: &str) -> Call {
    call.header("If-Match", tag)
}

async fn stale(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    with_names_restored(&context, &user, async || {
        let [first, second, third] =
            [(); 3].map(|()| json!({ "email": email(&context.fresh_name()) }));
        let before = read_user(&context, &user).await?;
        let old = before.header("etag")?;
        let after = if_match(change(&context, &user, &first), old).expect(200).await?;
        changed_by(&first, &before, &after)?;
        if_match(change(&context, &user, &second), old)
            .expect(412)
            .await?
            .problem("version_mismatch")?;
        same_thing(&read_user(&context, &user).await?, &after, "the user after a refused change")?;
        // The document takes tags in the plural: one that fits is enough.
        let both = format!("{old}, {}", after.header("etag")?);
        let last = if_match(change(&context, &user, &third), &both).expect(200).await?;
        changed_by(&third, &after, &last)?;
        let any = if_match(change(&context, &user, &second), "*").expect(200).await?;
        changed_by(&second, &last, &any)
    })
    .await
}

async fn race_for_a_version(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    with_names_restored(&context, &user, async || {
        let before = read_user(&context, &user).await?;
        let tag = before.header("etag")?;
        let [first, second] = [(); 2].map(|()| json!({ "email": email(&context.fresh_name()) }));
        let (one, two) = join(
            if_match(change(&context, &user, &first), tag).send(),
            if_match(change(&context, &user, &second), tag).send(),
        )
        .await;
        let (one, two) = (one?, two?);
        one_of_two(&one, &two, 412, "changes with one `If-Match` at the same time")?
            .problem("version_mismatch")?;
        let won = if one.status == 200 { &one } else { &two };
        same_thing(
            &read_user(&context, &user).await?,
            won,
            "the user after the change that was done",
        )
    })
    .await
}

async fn somebody_elses(context: Context) -> Result<(), Failure> {
    let victim = context.own_user().await?;
    let stranger = context.other_user(&victim).await?;
    let before = read_user(&context, &victim).await?;
    let nobody = context.fresh_id().to_string();
    let ids = [victim.id.as_str(), nobody.as_str()];
    let call =
        |operation: &str, id: &str| context.call(operation).path("user_id", id).as_user(&stranger);
    // What a stranger could do who knows everything, the right password too. What would do the most
    // harm, if it were done, comes last.
    let attempts = |id: &str| {
        [
            call("get_user", id),
            call("get_user", id).header("If-None-Match", before.header("etag").unwrap_or("*")),
            call("update_user", id).json(&json!({ "email": email(&context.fresh_name()) })),
            call("update_user", id).json(&json!({})),
            new_password(&context, id, &stranger.token, &victim.password, &victim.password),
            call("deactivate_user", id),
        ]
    };
    for (theirs, nobodys) in attempts(&victim.id).into_iter().zip(attempts(&nobody)) {
        let theirs = theirs.expect(404).await?;
        theirs.problem("user_not_found")?;
        same_problem(
            &theirs,
            &nobodys.expect(404).await?,
            ids,
            "the answer for somebody else's user, held against the one for nobody's,",
        )?;
        same_thing(
            &read_user(&context, &victim).await?,
            &before,
            "the user after a stranger tried",
        )?;
    }
    equal(&before, "`id`", text(&before, "id")?, victim.id.as_str())
}
