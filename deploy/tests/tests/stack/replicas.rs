//! Orders over several replicas: the contract holds, every replica serves, nothing is oversold, and
//! all records agree.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use contract_tests::{document::Document, options::Options, report};
use futures_util::future::join_all;
use merch_deploy_tests::{
    checker::{DatabaseState, check_consistency},
    history::History,
    load::Buyer,
    shared::{format_duration, progress},
    stack::Stack,
};
use serde_json::json;

use crate::{Workload, buyers, restock, sum_metric, with_stack};

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn contract_suite_passes_through_nginx() {
    with_stack("contract", async |stack: &Stack| {
        let report =
            contract_tests::run(Options::new(stack.url().parse()?), Arc::new(Document::embedded()))
                .await;
        ensure!(
            !report.failed(),
            "{}\n{}",
            report.not_tested.as_deref().unwrap_or_default(),
            report::table(&report, false)
        );
        progress(
            "contract",
            &format!(
                "{} cases, {} requests in {}",
                report.cases.len(),
                report.requests,
                format_duration(report.duration)
            ),
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn every_replica_serves_and_records_agree() {
    with_stack("trade", async |stack: &Stack| {
        let workload = Workload::start(stack).await?;
        workload.load.run(Duration::from_secs(8)).await;
        let (_, exchanges) = workload.check(stack, "trade").await?;
        crate::expect_no_failures(&exchanges)?;

        for (service, metric) in
            [("api", "merch_api_request_duration_seconds_count"), ("db", "merch_db_orders_total")]
        {
            let mut served = Vec::new();
            for container in stack.containers(Some(service)).await? {
                served.push(sum_metric(&stack.metrics(&container).await?, metric));
            }
            progress("trade", &format!("served by each {service}: {served:?}"));
            ensure!(
                served.iter().all(|&count| count > 0.0),
                "a replica of {service} served nothing: {served:?}"
            );
        }
        let mut delivered = Vec::new();
        for container in stack.containers(Some("logging")).await? {
            delivered.push(sum_metric(
                &stack.metrics(&container).await?,
                "merch_logging_delivered_events_total",
            ));
        }
        // Each of the four event streams stays with one replica; another test covers failover.
        progress("trade", &format!("delivered by each logging: {delivered:?}"));
        ensure!(delivered.iter().sum::<f64>() > 0.0, "no logging replica delivered anything");
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn last_pieces_are_sold_once() {
    with_stack("sold out", async |stack: &Stack| {
        const PIECES: i64 = 60;
        restock(stack, &[(3, PIECES)]).await?;
        let (client, buyers, supply) =
            (stack.client()?, buyers(), DatabaseState::read(stack).await?.supply());
        let buy = async |buyer: &Buyer| {
            let mut bought = 0;
            for _ in 0..10 {
                let order = client
                    .post("/orders")
                    .bearer(&buyer.token)
                    .json(&json!({ "product_id": 3, "quantity": 1 }))
                    .send()
                    .await?;
                ensure!([201, 409].contains(&order.status), "{} {}", order.status, order.text);
                bought += i64::from(order.status == 201);
            }
            Ok(bought)
        };
        let bought: Result<Vec<i64>> = join_all(buyers.iter().map(buy)).await.into_iter().collect();
        let bought: i64 = bought?.iter().sum();
        let database = DatabaseState::read(stack).await?;
        ensure!(bought == PIECES, "{PIECES} pieces, and {bought} were sold");
        ensure!(
            database.stock.get(&3) == Some(&0) && database.supply() == supply,
            "left: {:?}",
            database.stock
        );
        progress(
            "sold out",
            &format!(
                "{PIECES} pieces, {} tries by {} buyers, {bought} sold",
                10 * buyers.len(),
                buyers.len()
            ),
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn idempotency_key_holds_across_replicas() {
    with_stack("one key", async |stack: &Stack| {
        let (client, buyer) = (stack.client()?, buyers().into_iter().next().context("a buyer")?);
        let key = uuid::Uuid::new_v4().to_string();
        let order = json!({ "product_id": 1, "quantity": 2 });
        let send = async |_| {
            client
                .post("/orders")
                .bearer(&buyer.token)
                .header("Idempotency-Key", &key)
                .json(&order)
                .send()
                .await?
                .expect(201)
        };
        let responses: Result<Vec<_>> = join_all((0..16).map(send)).await.into_iter().collect();
        let responses = responses?;
        let bodies: BTreeSet<&str> =
            responses.iter().map(|response| response.text.as_str()).collect();
        ensure!(
            bodies.len() == 1,
            "16 requests with one key were answered with {} orders: {bodies:?}",
            bodies.len()
        );
        let other = client
            .post("/orders")
            .bearer(&buyer.token)
            .header("Idempotency-Key", &key)
            .json(&json!({ "product_id": 2, "quantity": 1 }));
        other.send().await?.expect(422)?;
        let stored = stack
            .psql(&format!("SELECT count(*) FROM idempotency_keys WHERE key = '{key}'"))
            .await?;
        ensure!(stored == "1", "{stored} orders are stored for one key");
        let before = DatabaseState::read(stack).await?;
        check_consistency(stack, &History::default(), &before).await.map(drop)
    })
    .await;
}
