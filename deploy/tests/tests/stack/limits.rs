//! Log-in limits are the store's and not a replica's: three replicas let nobody try three times as
//! often.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use merch_deploy_tests::{load::Buyer, shared::figure, stack::Stack};
use serde_json::json;

use crate::on_stack;

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn an_account_has_its_tries_once_and_not_once_for_each_replica() {
    on_stack("log-in limit", async |stack: &Stack| {
        let client = stack.client()?;
        let rate: usize =
            stack.settings().get("MERCH_LOG_IN_RATE").context("MERCH_LOG_IN_RATE")?.parse()?;
        // A user, whose log-in with the right password has used up no try, and a name without a
        // user.
        let known = Buyer::enrol(&client).await?.name;
        let unknown = format!("nobody{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        for name in [known, unknown] {
            let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
            for _ in 0..3 * rate {
                // A connection for each, so that NGINX spreads them over the replicas as it does
                // with many clients.
                let answer = stack
                    .client()?
                    .post("/login")
                    .json(&json!({ "username": name, "password": "wrong wrong wrong" }))
                    .send()
                    .await?;
                *statuses.entry(answer.status).or_default() += 1;
                if answer.status == 429 {
                    let wait: u64 =
                        answer.header("retry-after").parse().context("429 without Retry-After")?;
                    ensure!((1..=3600).contains(&wait), "Retry-After: {wait}");
                    ensure!(answer.body["code"] == "too_many_attempts", "{}", answer.text);
                }
            }
            let tried = statuses.get(&401).copied().unwrap_or(0);
            figure(
                "log-in limit",
                &format!("{} tries within seconds on one account: {statuses:?}", 3 * rate),
            );
            // It fills up again while they are sent: one more for each hour / rate.
            ensure!(
                (rate..=rate + 1).contains(&tried),
                "expected {rate} tries over all replicas, got {statuses:?}"
            );
            ensure!(statuses.keys().all(|status| [401, 429].contains(status)), "{statuses:?}");
        }
        Ok(())
    })
    .await;
}
