//! The subcommands of `merch admin`: calls of the operator service.

mod client;

use command_output::{print, print_done};
use merch_chassis::StartError;
use merch_contract::grpc::{
    admin::v1::{
        DeactivateUserRequest, Everyone, ListUsersRequest, RestockRequest, RevokeTokensRequest,
        SetPriceRequest, UserRef, restock_request::Change, revoke_tokens_request::Whose,
        user_ref::By,
    },
    assistant::v1::User,
};
use serde_json::{Value, json};
use uuid::Uuid;

use self::client::Client;
use crate::{
    command_error::CommandError,
    settings::operations::{Admin, ListUsers, Restock, RevokeTokens},
    table::{Cell, table},
};

/// The contract's maximum.
const PAGE_SIZE: usize = 100;

pub(crate) async fn run(command: &Admin) -> Result<(), CommandError> {
    match command {
        Admin::Restock(settings) => restock(settings).await,
        Admin::SetPrice(settings) => {
            let client = Client::connect(&settings.target)?;
            let request = SetPriceRequest {
                context: Some(client.context()),
                product_id: settings.product,
                price_cents: settings.cents,
            };
            let answer = client
                .call(request, async |service, request| service.set_price(request).await)
                .await?;
            let product = answer.product.unwrap_or_default();
            let (now, before) = (price(product.price_cents), price(answer.previous_price_cents));
            let done = format!(
                "product {} now costs {now} {}, previously {before}",
                product.id, product.currency
            );
            let text = if settings.target.json {
                json!({
                    "product_id": product.id, "price_cents": product.price_cents,
                    "previous_price_cents": answer.previous_price_cents, "currency": product.currency,
                })
                .to_string()
            } else {
                let rows = [vec![
                    Cell::number(product.id),
                    Cell::text(&product.name),
                    Cell::number(now),
                    Cell::number(before),
                ]];
                table(&["id", "name", &format!("price ({})", product.currency), "before"], &rows)
            };
            Ok(print_done(done, text)?)
        }
        Admin::ListUsers(settings) => list_users(settings).await,
        Admin::Deactivate(settings) => {
            let client = Client::connect(&settings.target)?;
            let request = DeactivateUserRequest {
                context: Some(client.context()),
                user: Some(user_ref(&settings.user)),
            };
            let answer = client
                .call(request, async |service, request| service.deactivate_user(request).await)
                .await?;
            let user = answer.user.unwrap_or_default();
            let done = if answer.changed {
                format!(
                    "{} ({}) is now inactive and its tokens are revoked",
                    user.username, user.id
                )
            } else {
                format!("{} ({}) was already inactive; nothing was changed", user.username, user.id)
            };
            if settings.target.json {
                let text = json!({ "user_id": user.id, "username": user.username, "active": user.active, "changed": answer.changed });
                Ok(print_done(done, text)?)
            } else {
                Ok(print_done(&done, &done)?)
            }
        }
        Admin::RevokeTokens(settings) => revoke_tokens(settings).await,
    }
}

async fn restock(settings: &Restock) -> Result<(), CommandError> {
    let change = match (settings.add, settings.set) {
        (Some(pieces), _) => Change::Add(pieces),
        (None, Some(pieces)) => Change::Set(pieces),
        (None, None) => return Err(StartError::new("expected --add PIECES or --set PIECES").into()),
    };
    let client = Client::connect(&settings.target)?;
    let request = RestockRequest {
        context: Some(client.context()),
        idempotency_key: settings.key.clone().unwrap_or_else(|| Uuid::now_v7().to_string()),
        product_id: settings.product,
        change: Some(change),
    };
    let answer =
        client.call(request, async |service, request| service.restock(request).await).await?;
    let done = format!(
        "product {}: {:+} pieces, {} in stock",
        settings.product, answer.difference, answer.stock
    );
    if settings.target.json {
        let text = json!({
            "product_id": settings.product, "stock": answer.stock, "difference": answer.difference, "replayed": answer.replayed,
        });
        return Ok(print_done(done, text)?);
    }
    let rows = [vec![
        Cell::number(settings.product),
        Cell::number(format!("{:+}", answer.difference)),
        Cell::number(answer.stock),
    ]];
    let mut text = table(&["id", "difference", "stock"], &rows);
    if answer.replayed {
        text.push_str("\nThis key was used before: nothing was changed; this is the first result.");
    }
    Ok(print_done(done, text)?)
}

async fn list_users(settings: &ListUsers) -> Result<(), CommandError> {
    let client = Client::connect(&settings.target)?;
    let (mut rows, mut shown, mut page_token) = (Vec::new(), 0, String::new());
    let more = loop {
        let size = PAGE_SIZE.min(settings.limit - shown);
        let request = ListUsersRequest {
            context: Some(client.context()),
            page_size: i32::try_from(size).unwrap_or(i32::MAX),
            page_token,
            username_prefix: settings.prefix.clone(),
            active: settings.active,
        };
        let page = client
            .call(request, async |service, request| service.list_users(request).await)
            .await?;
        for user in page.users {
            shown += 1;
            if settings.target.json {
                print(as_json(&user))?;
            } else {
                rows.push(as_row(&user));
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() || shown >= settings.limit {
            break !page_token.is_empty();
        }
    };
    if !settings.target.json {
        print(table(&["id", "sid", "username", "email", "active", "since"], &rows))?;
        let more = if more { "; there are more, raise --limit" } else { "" };
        print(format_args!("({shown} {}{more})", if shown == 1 { "user" } else { "users" }))?;
    }
    Ok(())
}

async fn revoke_tokens(settings: &RevokeTokens) -> Result<(), CommandError> {
    let client = Client::connect(&settings.target)?;
    let (mut users, mut page_token) = (0, String::new());
    loop {
        let whose = match &settings.user {
            Some(user) => Whose::User(user_ref(user)),
            None => Whose::Everyone(Everyone { page_token }),
        };
        let request = RevokeTokensRequest { context: Some(client.context()), whose: Some(whose) };
        let answer = client
            .call(request, async |service, request| service.revoke_tokens(request).await)
            .await?;
        users += answer.users;
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let done = format!(
        "revoked the tokens of {users} {}, who have to log in again",
        if users == 1 { "user" } else { "users" }
    );
    let text =
        if settings.target.json { json!({ "users": users }).to_string() } else { done.clone() };
    Ok(print_done(done, text)?)
}

/// Text in the form of a user id is an id: usernames can be chosen to look like one.
fn user_ref(user: &str) -> UserRef {
    let id = Uuid::try_parse(user).ok().filter(|_| user.len() == 36);
    UserRef {
        by: Some(id.map_or_else(|| By::Username(user.to_owned()), |id| By::UserId(id.to_string()))),
    }
}

/// 4999 is `49.99`.
fn price(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn created_at(user: &User) -> String {
    let seconds = user.created_at.map_or(0, |time| u64::try_from(time.seconds).unwrap_or_default());
    humantime::format_rfc3339_seconds(
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds),
    )
    .to_string()
}

fn as_json(user: &User) -> Value {
    json!({
        "id": user.id, "sid": user.sid, "username": user.username, "email": user.email, "active": user.active, "created_at": created_at(user),
    })
}

fn as_row(user: &User) -> Vec<Cell> {
    let active = if user.active { "yes" } else { "no" };
    vec![
        Cell::text(&user.id),
        Cell::text(&user.sid),
        Cell::text(&user.username),
        Cell::text(&user.email),
        Cell::text(active),
        Cell::text(created_at(user)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_parsed_as_user_ids() {
        let id = "019ad1f0-0000-7000-8000-000000000001";
        assert_eq!(user_ref(id).by, Some(By::UserId(id.to_owned())));
        assert_eq!(user_ref("ada").by, Some(By::Username("ada".to_owned())));
        assert_eq!(
            user_ref("019ad1f0000070008000000000000001").by,
            Some(By::Username("019ad1f0000070008000000000000001".to_owned()))
        );
    }

    #[test]
    fn prices_have_two_decimals() {
        assert_eq!(
            (price(4999).as_str(), price(5).as_str(), price(0).as_str()),
            ("49.99", "0.05", "0.00")
        );
    }
}
