//! Log-in limits apply to the store, not to each replica.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use merch_deploy_tests::{load::Buyer, shared::progress, stack::Stack};
use serde_json::json;

use crate::with_stack;

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn log_in_limit_is_shared_by_all_replicas() {
    with_stack("log-in limit", async |stack: &Stack| {
        let client = stack.client()?;
        let rate: usize =
            stack.settings().get("MERCH_LOG_IN_RATE").context("MERCH_LOG_IN_RATE")?.parse()?;
        // A user, whose successful log-in uses no attempt, and an unknown username.
        let known = Buyer::register(&client).await?.name;
        let unknown = format!("unknown{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        for name in [known, unknown] {
            let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
            for _ in 0..3 * rate {
                // A new connection each time, so that NGINX distributes them over the replicas.
                let response = stack
                    .client()?
                    .post("/login")
                    .json(&json!({ "username": name, "password": "wrong wrong wrong" }))
                    .send()
                    .await?;
                *statuses.entry(response.status).or_default() += 1;
                if response.status == 429 {
                    let wait: u64 = response
                        .header("retry-after")
                        .parse()
                        .context("429 without Retry-After")?;
                    ensure!((1..=3600).contains(&wait), "Retry-After: {wait}");
                    ensure!(response.body["code"] == "too_many_attempts", "{}", response.text);
                }
            }
            let tried = statuses.get(&401).copied().unwrap_or(0);
            progress(
                "log-in limit",
                &format!("{} tries within seconds on one account: {statuses:?}", 3 * rate),
            );
            // The bucket refills by one attempt every hour / rate.
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
