//! The end of a run: its orders are cancelled, its users deactivated, and the catalogue is held
//! against what it was.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};

use super::{
    Context, Failure, Product, User,
    ledger::{Account, Order},
    pool,
};

/// Users that are cleaned up at once: each may need a log-in, which costs the server a hash.
const AT_ONCE: usize = 4;

/// Pages of one user's orders that are looked at.
const PAGES: usize = 1_000;

/// Cancels every order of the run that is still placed, those too that arose where a refusal was
/// expected, and deactivates its users. What could not be done is told in sentences.
pub(super) async fn clean(context: &Context) -> Vec<String> {
    let context = context.for_cleaning();
    let accounts = context.ledger().accounts().into_iter().filter(|account| account.active);
    let mut warnings: Vec<String> = stream::iter(accounts)
        .map(|account| clean_user(&context, account))
        .buffer_unordered(AT_ONCE)
        .concat()
        .await;
    // Those of users that are gone, or that the list of orders does not show.
    for Order { id, token, .. } in context.ledger().orders() {
        if let Err(failure) = cancel(&context, &id, &token).await {
            warnings.push(format!(
                "the order {id} stays placed, as it cannot be cancelled: {}",
                first_line(&failure)
            ));
        }
    }
    warnings
}

async fn clean_user(context: &Context, account: Account) -> Vec<String> {
    let name = account.user.username.clone();
    let user = match entered(context, account).await {
        Ok(user) => user,
        Err(failure) => {
            return vec![format!(
                "the user {name} stays, as it cannot log in: {}",
                first_line(&failure)
            )];
        }
    };
    let mut warnings = Vec::new();
    if let Err(failure) = cancel_listed(context, &user).await {
        warnings.push(format!(
            "the user {name} may have orders that are placed: {}",
            first_line(&failure)
        ));
    }
    // Those that the list did not show. What cannot be cancelled is told in the end.
    for order in context.ledger().orders().into_iter().filter(|order| order.user_id == user.id) {
        let _ = cancel(context, &order.id, &user.token).await;
    }
    let deactivated = context
        .call("deactivate_user")
        .path("user_id", &user.id)
        .as_user(&user)
        .leniently()
        .expect(204)
        .await;
    if let Err(failure) = deactivated {
        warnings.push(format!(
            "the user {name} stays, as it cannot be deactivated: {}",
            first_line(&failure)
        ));
    }
    warnings
}

/// The user with a token that is valid.
async fn entered(context: &Context, account: Account) -> Result<User, Failure> {
    if account.logged_in {
        let looked = context
            .call("get_user")
            .path("user_id", &account.user.id)
            .as_user(&account.user)
            .leniently()
            .send()
            .await?;
        if looked.status == 200 {
            return Ok(account.user);
        }
    }
    pool::log_in(context, &account.user).await
}

/// Cancels every order that the list of the user's orders shows as placed.
async fn cancel_listed(context: &Context, user: &User) -> Result<(), Failure> {
    let (mut token, mut tokens) = (None::<String>, BTreeSet::new());
    for _ in 0..PAGES {
        let mut call = context.call("list_orders").query("limit", 100).as_user(user);
        call = match &token {
            Some(token) => call.query("page_token", token),
            None => call.query("status", "placed"),
        };
        let page = call.leniently().expect(200).await?;
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
            return Err(page.fail("a `next_page` of its orders comes again"));
        }
    }
    Err(Failure::new(format!("its orders have more than {PAGES} pages")))
}

async fn cancel(context: &Context, order_id: &str, token: &str) -> Result<(), Failure> {
    context
        .call("cancel_order")
        .path("order_id", order_id)
        .bearer(token)
        .leniently()
        .expect(200)
        .await
        .map(|_| ())
}

/// Holds the stock against what it was.
pub(super) async fn compare(
    before: Result<Vec<Product>, Failure>,
    context: &Context,
) -> Vec<String> {
    let context = context.for_cleaning();
    let (Ok(before), Ok(after)) = (before, context.products().await) else {
        return vec!["the stock was not compared, as the catalogue cannot be read".to_owned()];
    };
    let after: BTreeMap<i64, i64> =
        after.into_iter().map(|product| (product.id, product.stock)).collect();
    let differs = before.into_iter().filter_map(|product| {
        let now = after.get(&product.id).copied();
        (now != Some(product.stock)).then(|| {
            let now = now.map_or_else(|| "is not there any more".to_owned(), |stock| format!("has {stock} now"));
            format!(
                "product {} had {} pieces at the start and {now}, although every order of this run is cancelled: somebody else trades, or pieces get lost",
                product.id, product.stock
            )
        })
    });
    differs.collect()
}

fn first_line(failure: &Failure) -> &str {
    failure.message().lines().next().unwrap_or_default()
}
