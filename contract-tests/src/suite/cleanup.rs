//! Cleanup: cancels orders, deactivates users, and compares the catalogue.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};

use super::{
    Context, Failure, Product, User,
    ledger::{Account, Order},
    pool,
};

/// Concurrent cleanups: each may need a log-in, which costs the server a hash.
const MAX_CONCURRENT: usize = 4;

const PAGES: usize = 1_000;

/// Cancels every order of the run, even those of cases that expected a refusal, and deactivates its
/// users. Returns a message per failure.
pub(super) async fn clean(context: &Context) -> Vec<String> {
    let context = context.for_cleanup();
    let accounts = context.ledger().accounts().into_iter().filter(|account| account.active);
    let mut warnings: Vec<String> = stream::iter(accounts)
        .map(|account| clean_user(&context, account))
        .buffer_unordered(MAX_CONCURRENT)
        .concat()
        .await;
    // Orders of deactivated users, or missing from the list.
    for Order { id, token, .. } in context.ledger().orders() {
        if let Err(failure) = cancel(&context, &id, &token).await {
            warnings.push(format!(
                "failed to cancel the order {id}, which stays placed: {}",
                first_line(&failure)
            ));
        }
    }
    warnings
}

async fn clean_user(context: &Context, account: Account) -> Vec<String> {
    let name = account.user.username.clone();
    let user = match with_valid_token(context, account).await {
        Ok(user) => user,
        Err(failure) => {
            return vec![format!(
                "failed to log in the user {name}, which stays active: {}",
                first_line(&failure)
            )];
        }
    };
    let mut warnings = Vec::new();
    if let Err(failure) = cancel_listed(context, &user).await {
        warnings.push(format!(
            "failed to list the orders of the user {name}, which may stay placed: {}",
            first_line(&failure)
        ));
    }
    // Orders missing from the list. Failures are reported at the end.
    for order in context.ledger().orders().into_iter().filter(|order| order.user_id == user.id) {
        let _ = cancel(context, &order.id, &user.token).await;
    }
    let deactivated = context
        .call("deactivate_user")
        .path("user_id", &user.id)
        .as_user(&user)
        .tolerant()
        .expect(204)
        .await;
    if let Err(failure) = deactivated {
        warnings.push(format!("failed to deactivate the user {name}: {}", first_line(&failure)));
    }
    warnings
}

async fn with_valid_token(context: &Context, account: Account) -> Result<User, Failure> {
    if account.logged_in {
        let looked = context
            .call("get_user")
            .path("user_id", &account.user.id)
            .as_user(&account.user)
            .tolerant()
            .send()
            .await?;
        if looked.status == 200 {
            return Ok(account.user);
        }
    }
    pool::log_in(context, &account.user).await
}

async fn cancel_listed(context: &Context, user: &User) -> Result<(), Failure> {
    let (mut token, mut tokens) = (None::<String>, BTreeSet::new());
    for _ in 0..PAGES {
        let mut call = context.call("list_orders").query("limit", 100).as_user(user);
        call = match &token {
            Some(token) => call.query("page_token", token),
            None => call.query("status", "placed"),
        };
        let page = call.tolerant().expect(200).await?;
        for order in page.json()["items"].as_array().into_iter().flatten() {
            if order["status"] == "placed"
                && let Some(id) = order["id"].as_str()
            {
                cancel(context, id, &user.token).await?;
            }
        }
        token = page.json()["next_page"].as_str().map(str::to_owned);
        if token.is_none() {
            return Ok(());
        }
        if !tokens.insert(token.clone()) {
            return Err(page.fail("expected a new `next_page`, got one again"));
        }
    }
    Err(Failure::new(format!("expected at most {PAGES} pages of orders, got more")))
}

async fn cancel(context: &Context, order_id: &str, token: &str) -> Result<(), Failure> {
    context
        .call("cancel_order")
        .path("order_id", order_id)
        .bearer(token)
        .tolerant()
        .expect(200)
        .await
        .map(|_| ())
}

pub(super) async fn compare(
    before: Result<Vec<Product>, Failure>,
    context: &Context,
) -> Vec<String> {
    let context = context.for_cleanup();
    let (Ok(before), Ok(after)) = (before, context.products().await) else {
        return vec!["failed to read the catalogue; the stock was not compared".to_owned()];
    };
    let after: BTreeMap<i64, i64> =
        after.into_iter().map(|product| (product.id, product.stock)).collect();
    let differs = before.into_iter().filter_map(|product| {
        let now = after.get(&product.id).copied();
        (now != Some(product.stock)).then(|| {
            let now = now.map_or_else(|| "is not in the catalogue".to_owned(), |stock| format!("has {stock} now"));
            format!(
                "product {} had {} pieces at the start and {now}, although all orders of this run are cancelled: another client bought or cancelled, or the store lost pieces",
                product.id, product.stock
            )
        })
    });
    differs.collect()
}

fn first_line(failure: &Failure) -> &str {
    failure.message().lines().next().unwrap_or_default()
}
