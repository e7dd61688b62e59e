//! Tokens: valid immediately, revoked immediately, and only for their user.

use reqwest::Method;
use serde_json::{Value, json};

use super::steps::{
    WRONG_PASSWORD, cancel, equal, integer, log_in, new_password, no_password, place_order,
    read_user, same_problem, same_resource, text, token,
};
use crate::{
    document::{Location, Operation},
    suite::{Answer, Call, Case, Context, Failure, User},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "log_in",
            200,
            "a new token is valid immediately, for its user",
            valid_immediately,
        ),
        Case::new(
            "log_out",
            204,
            "log-out revokes all tokens for the next request to every operation",
            revoked_by_log_out,
        ),
        Case::new(
            "change_password",
            204,
            "a password change revokes all tokens, and only the new password logs in",
            revoked_by_password_change,
        ),
        Case::new(
            "change_password",
            403,
            "a wrong current password changes nothing",
            wrong_current_password,
        ),
        Case::new(
            "deactivate_user",
            204,
            "deactivation revokes all tokens and refuses log-ins",
            revoked_by_deactivation,
        ),
        Case::new("get_user", 401, "tokens assembled from parts of others are refused", forged),
        Case::new("get_user", 401, "other authorization schemes are refused", other_schemes),
    ]
}

async fn valid_immediately(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let answer = log_in(&context, &user.username, &user.password).expect(200).await?;
    equal(&answer, "`user_id`", text(&answer, "user_id")?, user.id.as_str())?;
    equal(&answer, "`token_type`", text(&answer, "token_type")?, "Bearer")?;
    let seconds = integer(&answer, "expires_in")?;
    ensure!(seconds > 0, &answer, "expected a positive `expires_in`, got {seconds}");
    no_password(&answer)?;
    let fresh = text(&answer, "access_token")?;
    let read = context.call("get_user").path("user_id", &user.id).bearer(fresh).expect(200).await?;
    equal(&read, "`username`", text(&read, "username")?, user.username.as_str())?;
    // A log-in revokes no token.
    same_resource(
        &read_user(&context, &user).await?,
        &read,
        "the user, read with the earlier token",
    )
}

async fn revoked_by_log_out(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let first = token(&context, &user.username, &user.password).await?;
    let second = token(&context, &user.username, &user.password).await?;
    let order = cancelled_order(&context, &user).await?;
    context.call("log_out").bearer(&first).expect(204).await?;
    refused_everywhere(&context, &user, &[&first, &second, &user.token], &order).await?;
    // Log-in still works, and the refused requests changed nothing.
    let again = token(&context, &user.username, &user.password).await?;
    let read =
        context.call("get_user").path("user_id", &user.id).bearer(&again).expect(200).await?;
    equal(&read, "`email`", text(&read, "email")?, user.email.as_str())?;
    let unchanged = context
        .call("get_order")
        .path("order_id", text(&order, "id")?)
        .bearer(&again)
        .expect(200)
        .await?;
    same_resource(&unchanged, &order, "the earlier order")
}

async fn revoked_by_password_change(context: Context) -> Result<(), Failure> {
    let mut user = context.own_user().await?;
    let second = token(&context, &user.username, &user.password).await?;
    let order = cancelled_order(&context, &user).await?;
    let (old, new) = (user.password.clone(), format!("{} and more", context.fresh_name()));
    new_password(&context, &user.id, &user.token, &old, &new).expect(204).await?;
    user.set_password(&new);
    refused_everywhere(&context, &user, &[&user.token, &second], &order).await?;
    log_in(&context, &user.username, &old).expect(401).await?.problem("invalid_credentials")?;
    let again = token(&context, &user.username, &new).await?;
    context.call("get_user").path("user_id", &user.id).bearer(&again).expect(200).await.map(drop)
}

async fn wrong_current_password(context: Context) -> Result<(), Failure> {
    let user = context.own_user().await?;
    let before = read_user(&context, &user).await?;
    let (wrong, new) =
        (format!("{} is wrong", context.fresh_name()), format!("{} is new", context.fresh_name()));
    // A password too short to be registered is treated as a wrong one.
    for wrong in [wrong.as_str(), "x"] {
        let refused =
            new_password(&context, &user.id, &user.token, wrong, &new).expect(403).await?;
        refused.problem("wrong_password")?;
    }
    same_resource(
        &read_user(&context, &user).await?,
        &before,
        "the user, read with the earlier token,",
    )?;
    log_in(&context, &user.username, &new).expect(401).await?.problem("invalid_credentials")?;
    token(&context, &user.username, &user.password).await.map(drop)
}

async fn revoked_by_deactivation(context: Context) -> Result<(), Failure> {
    let user = context.disposable_user().await?;
    let order = cancelled_order(&context, &user).await?;
    context.call("deactivate_user").path("user_id", &user.id).as_user(&user).expect(204).await?;
    refused_everywhere(&context, &user, &[&user.token], &order).await?;
    // A right password, a wrong one and an unknown user are indistinguishable.
    let unknown_name = context.fresh_name();
    let unknown = log_in(&context, &unknown_name, &user.password).expect(401).await?;
    unknown.problem("invalid_credentials")?;
    for password in [user.password.as_str(), WRONG_PASSWORD] {
        let refused = log_in(&context, &user.username, password).expect(401).await?;
        same_problem(
            &refused,
            &unknown,
            [&user.username, &unknown_name],
            "the response for a deactivated user, compared with an unknown name,",
        )?;
    }
    Ok(())
}

async fn cancelled_order(context: &Context, user: &User) -> Result<Answer, Failure> {
    let placed = place_order(context, user, context.product().await?.id, 1).await?;
    cancel(context, user, &placed).await
}

/// Expects that every secured operation refuses each token. The most harmful operations come last.
async fn refused_everywhere(
    context: &Context,
    user: &User,
    tokens: &[&str],
    order: &Answer,
) -> Result<(), Failure> {
    let mut operations: Vec<&Operation> =
        context.document().operations().iter().filter(|operation| operation.secured).collect();
    operations.sort_by_key(|operation| {
        (
            operation.method != Method::GET,
            operation.id == "log_out",
            operation.method == Method::DELETE,
        )
    });
    for operation in operations {
        for token in tokens {
            let refused =
                valid_request(context, operation, user, order)?.bearer(token).expect(401).await?;
            refused.problem("token_invalid")?;
        }
    }
    Ok(())
}

/// A request that `operation` would accept from `user`, without the token.
fn valid_request(
    context: &Context,
    operation: &Operation,
    user: &User,
    order: &Answer,
) -> Result<Call, Failure> {
    let mut call = context.call(&operation.id);
    for parameter in
        operation.parameters.iter().filter(|parameter| parameter.location == Location::Path)
    {
        let value = match (parameter.name.as_str(), &parameter.example) {
            ("user_id", _) => user.id.clone(),
            ("order_id", _) => text(order, "id")?.to_owned(),
            (_, Some(Value::String(example))) => example.clone(),
            (_, example) => example.as_ref().map_or_else(|| "1".to_owned(), Value::to_string),
        };
        call = call.path(&parameter.name, value);
    }
    let body = match operation.id.as_str() {
        "update_user" => Some(json!({})),
        "change_password" => {
            Some(json!({ "current_password": user.password, "new_password": user.password }))
        }
        "place_order" => Some(json!({ "product_id": order.json()["product_id"], "quantity": 1 })),
        _ => operation
            .request_body
            .as_ref()
            .and_then(|body| body.examples.first())
            .map(|(_, example)| example.clone()),
    };
    Ok(match body {
        Some(body) => call.json(&body),
        None => call,
    })
}

/// `{"alg":"none","typ":"JWT"}` and the same of an access token (RFC 9068), in base64url.
const WITHOUT_SIGNATURE: [&str; 2] =
    ["eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0", "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0"];

async fn forged(context: Context) -> Result<(), Failure> {
    let user = context.user().await?;
    let other = context.other_user(&user).await?;
    for (what, token) in forgeries(&user.token, &other.token) {
        for victim in [&user, &other] {
            let answer =
                context.call("get_user").path("user_id", &victim.id).bearer(&token).send().await?;
            ensure!(answer.status == 401, &answer, "{what}: expected 401, got {}", answer.status);
            answer.problem("token_invalid")?;
        }
    }
    Ok(())
}

fn forgeries(token: &str, other: &str) -> Vec<(&'static str, String)> {
    // The last part of a JWT is its signature, or its authentication tag if it is encrypted.
    let (unsigned, signature) = token.rsplit_once('.').unwrap_or(("", token));
    let others_signature = other.rsplit_once('.').map_or(other, |(_, signature)| signature);
    // The last character has unused bits.
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let changed: String =
        signature.chars().take(1).map(|_| first).chain(signature.chars().skip(1)).collect();
    let mut forgeries = vec![
        ("a token with the signature of another", format!("{unsigned}.{others_signature}")),
        ("a token with a changed signature", format!("{unsigned}.{changed}")),
        ("a token without its signature", format!("{unsigned}.")),
        ("a token without its last part", unsigned.to_owned()),
        ("a doubled token", format!("{token}{token}")),
    ];
    if let ([header, claims, signature], [_, others_claims, _]) =
        (&token.split('.').collect::<Vec<_>>()[..], &other.split('.').collect::<Vec<_>>()[..])
    {
        forgeries.push((
            "a token with the claims of another",
            format!("{header}.{others_claims}.{signature}"),
        ));
        for none in WITHOUT_SIGNATURE {
            forgeries.push(("a token with the algorithm `none`", format!("{none}.{claims}.")));
            forgeries.push((
                "a signed token with the algorithm `none`",
                format!("{none}.{claims}.{signature}"),
            ));
        }
    }
    forgeries
}

async fn other_schemes(context: Context) -> Result<(), Failure> {
    let user = context.user().await?;
    let call = |value: String| {
        context.call("get_user").path("user_id", &user.id).header("Authorization", value)
    };
    for value in [
        format!("Basic {}", user.token),
        format!("Token {}", user.token),
        user.token.clone(),
        format!("Bearer{}", user.token),
        "Bearer".to_owned(),
        "x".to_owned(),
    ] {
        let refused = call(value).expect(401).await?;
        let code = text(&refused, "code")?;
        ensure!(
            ["token_missing", "token_invalid"].contains(&code),
            &refused,
            "expected the code `token_missing` or `token_invalid`, got {code:?}"
        );
    }
    // Scheme names ignore case (RFC 9110 §11.1).
    call(format!("bearer {}", user.token)).expect(200).await.map(drop)
}
