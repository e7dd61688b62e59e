//! Rotation of keys and passwords under load refuses no valid token and loses nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use merch_deploy_tests::{
    http::Outcome,
    load::Buyer,
    settings::random_secret,
    shared::{format_duration, progress},
    stack::Stack,
};

use crate::{Workload, buyers, expect_no_failures, failures, with_stack};

/// The limit of a rolling restart of one role.
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
async fn signing_key_rotation_refuses_no_valid_token() {
    with_stack("signing key", async |stack: &Stack| {
        let settings = stack.settings();
        let (old, new) = (settings.get("MERCH_JWT_KEY").context("MERCH_JWT_KEY")?, random_secret());
        let buyer = buyers().into_iter().next().context("a buyer")?;
        // Buyers use tokens of the old key; a 401 would end the load with an error.
        let workload = Workload::start(stack).await?;
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
        let (totals, exchanges) = workload.check(stack, "signing key").await?;
        progress(
            "signing key",
            &format!("changed in two rolling restarts, {} orders meanwhile", totals.observed),
        );
        expect_no_failures(&exchanges)
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn certificate_renewal_fails_no_request() {
    with_stack("certificates", async |stack: &Stack| {
        let workload = Workload::start(stack).await?;
        stack.command("make").args(["renew-certificates"]).limit(ROLLING).succeed().await?;
        for service in ["logging", "db", "api"] {
            rolling_restart(stack, service).await?;
        }
        let (totals, exchanges) = workload.check(stack, "certificates").await?;
        progress(
            "certificates",
            &format!("renewed with a rolling restart, {} orders meanwhile", totals.observed),
        );
        expect_no_failures(&exchanges)
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn database_password_rotation_loses_nothing() {
    with_stack("database password", async |stack: &Stack| {
        let new = random_secret();
        let workload = Workload::start(stack).await?;
        workload.load.run(Duration::from_secs(1)).await;
        // docs/operations.md uses `\password`, which sends a hash but needs a terminal.
        stack.psql(&format!("ALTER ROLE merch PASSWORD '{new}'")).await?;
        stack.change_settings(&[("MERCH_DATABASE_PASSWORD", &new)])?;
        let began = std::time::Instant::now();
        rolling_restart(stack, "db").await?;
        let took = began.elapsed();
        let (_, exchanges) = workload.check(stack, "database password").await?;
        let failed: Vec<_> = exchanges.iter().filter(|exchange| exchange.failed()).collect();
        progress(
            "database password",
            &format!("all db replicas had the new one {} after the change", format_duration(took)),
        );
        // PostgreSQL refuses new connections of old replicas meanwhile: a few requests get 503.
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
