//! Users: updates change only the sent members, only for the owner, and never overwrite an unseen
//! change.

use futures_util::future::join;
use serde_json::{Value, json};

use super::steps::{
    change, email, equal, new_password, no_password, other_case, read_user, same_problem,
    same_resource, text, timestamp,
};
use crate::suite::{Answer, Call, Case, Context, Failure, User};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("update_user", 200, "an update changes only the sent members", only_sent_members),
        Case::new(
            "update_user",
            200,
            "a user can change the case of their own names",
            own_name_in_another_case,
        ),
        Case::new(
            "update_user",
            409,
            "names of other users are conflicts and change nothing",
            taken,
        ),
        Case::new(
            "update_user",
            409,
            "concurrent updates to one email have one winner",
            race_for_an_email,
        )
        .serial(),
        Case::new("update_user", 412, "an update of an outdated version changes nothing", stale),
        Case::new(
            "update_user",
            412,
            "concurrent updates of one version have one winner",
            race_for_a_version,
        ),
        Case::new("get_user", 404, "another user is answered like an unknown one", another_users),
    ]
}

/// Restores the user's names after the case, even if it fails.
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

async fn only_sent_members(context: Context) -> Result<(), Failure> {
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
            same_resource(&read, &after, "the user that is read after the change")?;
            before = read;
        }
        Ok(())
    })
    .await
}

/// Expects `before` with the members of `body`, and a later version.
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
        timestamp(after, "updated_at")? >= timestamp(before, "updated_at")?,
        after,
        "expected a later `updated_at`, got an earlier one than {}",
        before.json()["updated_at"]
    );
    no_password(after)?;
    if after.json() != before.json() {
        ensure!(
            after.header("etag")? != before.header("etag")?,
            after,
            "expected a new entity tag after an update, got the old one"
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
        // A free value together with a taken one: the store must change neither.
        (json!({ "username": free, "email": other.email }), "email_taken"),
        (json!({ "username": other.username, "email": email(&free) }), "username_taken"),
    ] {
        change(&context, &user, &body).expect(409).await?.problem(code)?;
    }
    same_resource(&read_user(&context, &user).await?, &before, "the user after refused changes")
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
    let lost = one_of_two(&one, &two, 409, "concurrent updates to one email")?;
    lost.problem("email_taken")?;
    restored.0?;
    restored.1.map(drop)
}

/// Expects one 200 and one `refused`, which is returned.
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
        "expected 200 for one of two {who}, got {} and {}",
        one.status,
        two.status
    );
    ensure!(
        lost.status == refused,
        lost,
        "expected {refused} for one of two {who}, got {}",
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
        same_resource(
            &read_user(&context, &user).await?,
            &after,
            "the user after a refused change",
        )?;
        // One matching tag in a list suffices.
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
        one_of_two(&one, &two, 412, "concurrent updates with one `If-Match`")?
            .problem("version_mismatch")?;
        let won = if one.status == 200 { &one } else { &two };
        same_resource(
            &read_user(&context, &user).await?,
            won,
            "the user after the successful update",
        )
    })
    .await
}

async fn another_users(context: Context) -> Result<(), Failure> {
    let victim = context.own_user().await?;
    let other = context.other_user(&victim).await?;
    let before = read_user(&context, &victim).await?;
    let unknown_id = context.fresh_id().to_string();
    let ids = [victim.id.as_str(), unknown_id.as_str()];
    let call =
        |operation: &str, id: &str| context.call(operation).path("user_id", id).as_user(&other);
    // These attempts have every detail, even the right password. The most harmful ones come last.
    let attempts = |id: &str| {
        [
            call("get_user", id),
            call("get_user", id).header("If-None-Match", before.header("etag").unwrap_or("*")),
            call("update_user", id).json(&json!({ "email": email(&context.fresh_name()) })),
            call("update_user", id).json(&json!({})),
            new_password(&context, id, &other.token, &victim.password, &victim.password),
            call("deactivate_user", id),
        ]
    };
    for (theirs, unknown) in attempts(&victim.id).into_iter().zip(attempts(&unknown_id)) {
        let theirs = theirs.expect(404).await?;
        theirs.problem("user_not_found")?;
        same_problem(
            &theirs,
            &unknown.expect(404).await?,
            ids,
            "the response for another user, compared with an unknown one,",
        )?;
        same_resource(
            &read_user(&context, &victim).await?,
            &before,
            "the user after another user's attempt",
        )?;
    }
    equal(&before, "`id`", text(&before, "id")?, victim.id.as_str())
}
