//! Trade over replicas: the contract holds, everybody serves, nothing is oversold, and what was
//! told, what is held and what was logged agree.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use contract_tests::{document::Document, options::Options, report, suite};
use futures_util::future::join_all;
use merch_deploy_tests::{
    audit::{Books, audit},
    ledger::Ledger,
    load::Buyer,
    shared::{figure, seconds},
    stack::Stack,
};
use serde_json::json;

use crate::{Shopping, buyers, on_stack, restock, sum};

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn the_contract_suite_passes_through_nginx() {
    on_stack("contract", async |stack: &Stack| {
        let report =
            suite::run(Options::new(stack.url().parse()?), Arc::new(Document::embedded())).await;
        ensure!(
            !report.failed(),
            "{}\n{}",
            report.not_tested.as_deref().unwrap_or_default(),
            report::table(&report, false)
        );
        figure(
            "contract",
            &format!(
                "{} cases, {} requests in {}",
                report.cases.len(),
                report.requests,
                seconds(report.duration)
            ),
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn every_replica_serves_and_all_three_stories_agree() {
    on_stack("trade", async |stack: &Stack| {
        let shopping = Shopping::start(stack).await?;
        shopping.load.run(Duration::from_secs(8)).await;
        let (_, exchanges) = shopping.audit(stack, "trade").await?;
        crate::none_failed(&exchanges)?;

        for (service, metric) in
            [("api", "merch_api_request_duration_seconds_count"), ("db", "merch_db_orders_total")]
        {
            let mut served = Vec::new();
            for container in stack.containers(Some(service)).await? {
                served.push(sum(&stack.metrics(&container).await?, metric));
            }
            figure("trade", &format!("served by each {service}: {served:?}"));
            ensure!(
                served.iter().all(|&count| count > 0.0),
                "a replica of {service} served nothing: {served:?}"
            );
        }
        let mut delivered = Vec::new();
        for container in stack.containers(Some("logging")).await? {
            delivered.push(sum(
                &stack.metrics(&container).await?,
                "merch_logging_delivered_events_total",
            ));
        }
        // There are four streams, and each stays where it was opened; that the others take over is
        // another test.
        figure("trade", &format!("delivered by each logging: {delivered:?}"));
        ensure!(delivered.iter().sum::<f64>() > 0.0, "no logging replica delivered anything");
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn the_last_pieces_are_sold_once() {
    on_stack("sold out", async |stack: &Stack| {
        const PIECES: i64 = 60;
        restock(stack, &[(3, PIECES)]).await?;
        let (client, buyers, supply) =
            (stack.client()?, buyers(), Books::read(stack).await?.supply());
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
        let books = Books::read(stack).await?;
        ensure!(bought == PIECES, "{PIECES} pieces, and {bought} were sold");
        ensure!(
            books.stock.get(&3) == Some(&0) && books.supply() == supply,
            "left: {:?}",
            books.stock
        );
        figure(
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
async fn one_key_is_one_order_on_every_replica() {
    on_stack("one key", async |stack: &Stack| {
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
        let answers: Result<Vec<_>> = join_all((0..16).map(send)).await.into_iter().collect();
        let answers = answers?;
        let bodies: BTreeSet<&str> = answers.iter().map(|answer| answer.text.as_str()).collect();
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
        let held = stack
            .psql(&format!("SELECT count(*) FROM idempotency_keys WHERE key = '{key}'"))
            .await?;
        ensure!(held == "1", "{held} orders are held for one key");
        let before = Books::read(stack).await?;
        audit(stack, &Ledger::default(), &before).await.map(drop)
    })
    .await;
}
