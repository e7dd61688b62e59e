//! Keys and passwords that change while buyers shop: no valid token is refused, and nothing is
//! lost.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use merch_deploy_tests::{
    http::Outcome,
    load::Buyer,
    settings::random_secret,
    shared::{figure, seconds},
    stack::Stack,
};

use crate::{Shopping, buyers, failures, none_failed, on_stack};

/// How long `make` may take to replace the containers of one role.
const ROLLING: Duration = Duration::from_secs(180);

async fn rolling_restart(stack: &Stack, service: &str) -> Result<()> {
    stack
        .command("make")
        .args(["rolling-restart"])
        .env("SERVICE", service)
        .limit(ROLLING)
        .succeed()
        .await
        .map(drop)
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn a_new_signing_key_refuses_no_valid_token() {
    on_stack("signing key", async |stack: &Stack| {
        let settings = stack.settings();
        let (old, new) = (settings.get("MERCH_JWT_KEY").context("MERCH_JWT_KEY")?, random_secret());
        let buyer = buyers().into_iter().next().context("a buyer")?;
        // Buyers shop with tokens of the old key all the while; an order that is answered 401 ends
        // the load with an error.
        let shopping = Shopping::start(stack).await?;
        stack.change_settings(&[("MERCH_JWT_VERIFY_KEY", &new)])?;
        rolling_restart(stack, "api").await?;
        stack.change_settings(&[("MERCH_JWT_KEY", &new), ("MERCH_JWT_VERIFY_KEY", old)])?;
        rolling_restart(stack, "api").await?;
        let token = Buyer::log_in(&stack.client()?, &buyer.name).await?;
        let key_id = |token: &str| token.split('.').next().map(str::to_owned);
        ensure!(
            key_id(&token) != key_id(&buyer.token),
            "expected that a new token is signed by the new key"
        );
        for token in [&token, &buyer.token] {
            stack.client()?.get("/orders").bearer(token).send().await?.expect(200)?;
        }
        let (figures, exchanges) = shopping.audit(stack, "signing key").await?;
        figure(
            "signing key",
            &format!("changed in two rolling restarts, {} orders meanwhile", figures.told),
        );
        none_failed(&exchanges)
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn new_certificates_fail_no_request() {
    on_stack("certificates", async |stack: &Stack| {
        let shopping = Shopping::start(stack).await?;
        stack.command("make").args(["renew-certificates"]).limit(ROLLING).succeed().await?;
        for service in ["logging", "db", "api"] {
            rolling_restart(stack, service).await?;
        }
        let (figures, exchanges) = shopping.audit(stack, "certificates").await?;
        figure(
            "certificates",
            &format!("renewed with a rolling restart, {} orders meanwhile", figures.told),
        );
        none_failed(&exchanges)
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn a_new_database_password_loses_nothing() {
    on_stack("database password", async |stack: &Stack| {
        let new = random_secret();
        let shopping = Shopping::start(stack).await?;
        shopping.load.run(Duration::from_secs(1)).await;
        // As docs/operations.md has it; `\password` sends the hash in place of the password, and
        // wants a terminal.
        stack.psql(&format!("ALTER ROLE merch PASSWORD '{new}'")).await?;
        stack.change_settings(&[("MERCH_DATABASE_PASSWORD", &new)])?;
        let began = std::time::Instant::now();
        rolling_restart(stack, "db").await?;
        let took = began.elapsed();
        let (_, exchanges) = shopping.audit(stack, "database password").await?;
        let failed: Vec<_> = exchanges.iter().filter(|exchange| exchange.failed()).collect();
        figure(
            "database password",
            &format!("all db replicas had the new one {} after the change", seconds(took)),
        );
        // An old replica that wants one more connection meanwhile is refused by PostgreSQL: that is
        // 503, and seldom.
        let proper = failed.iter().all(|exchange| {
            exchange.outcome == Outcome::Answered(503) && exchange.retry_after.is_some()
        });
        ensure!(
            proper && 100 * failed.len() <= exchanges.len(),
            "expected few failures, all 503 with Retry-After:\n- {}",
            failures(failed).join("\n- ")
        );
        Ok(())
    })
    .await;
}
