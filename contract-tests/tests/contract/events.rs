//! Log events on the topic: actor, action and subject, once each, without secrets.

use merch_test_store::{Record, TestUser, on_both_databases};
use reqwest::Method;
use serde_json::json;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Checks the proto3 JSON mapping of `merch.logging.v1.LogMessage`.
fn well_formed(record: &Record) {
    let value =
        record.value.as_object().unwrap_or_else(|| panic!("no JSON object: {}", record.value));
    let known = [
        "id",
        "time",
        "service",
        "instance",
        "level",
        "event",
        "actor",
        "subject",
        "requestId",
        "traceId",
        "message",
        "attributes",
    ];
    assert!(value.keys().all(|member| known.contains(&member.as_str())), "{value:?}");
    assert_eq!(record.text("id").parse::<uuid::Uuid>().unwrap().get_version_num(), 7);
    time::OffsetDateTime::parse(
        record.text("time"),
        &time::format_description::well_known::Rfc3339,
    )
    .unwrap();
    assert!(record.text("time").ends_with('Z'), "UTC: {}", record.text("time"));
    assert!(["api", "db"].contains(&record.text("service")));
    assert!(["LEVEL_INFO", "LEVEL_WARN"].contains(&record.text("level")), "{value:?}");
    for member in ["instance", "event", "actor", "requestId", "message"] {
        assert!(!record.text(member).is_empty(), "{member}: {value:?}");
    }
    if let Some(attributes) = value.get("attributes") {
        assert!(
            attributes.as_object().unwrap().values().all(serde_json::Value::is_string),
            "{attributes}"
        );
    }
}

on_both_databases! {
    async fn each_step_logs_its_event(store: &TestStore) {
        let secrets = ["a first password", "a second password", "a wrong password"];
        let step = |n: u32| format!("step-{n}");
        let traced = format!("00-{TRACE}-b7ad6b7169203331-01");
        let name = merch_test_store::fresh_name();

        let body = json!({ "sid": name, "username": name, "email": format!("{name}@mail.example.com"), "password": secrets[0] });
        let user = store
            .post("/users")
            .header("x-request-id", step(1))
            .header("traceparent", &traced)
            .json(&body)
            .await
            .expect(201)
            .json();
        let id = user["id"].as_str().unwrap();
        let log_in = |n: u32, password: &str| {
            store
                .post("/login")
                .header("x-request-id", step(n))
                .json(&json!({ "username": name, "password": password }))
        };
        log_in(2, secrets[2]).await.expect(401);
        let token = log_in(3, secrets[0]).await.expect(200).json()["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        let call = |n: u32, method: Method, path: String| {
            store.call(method, path).header("x-request-id", step(n)).bearer(&token)
        };

        let order = call(4, Method::POST, "/orders".to_owned())
            .json(&json!({ "product_id": 1, "quantity": 2 }))
            .await
            .expect(201)
            .json();
        let order_id = order["id"].as_str().unwrap();
        call(5, Method::POST, format!("/orders/{order_id}/cancel")).await.expect(200);
        call(6, Method::POST, format!("/orders/{order_id}/cancel")).await.expect(200); // changes nothing, so there is no event
        store.set_stock(2, 0).await;
        call(7, Method::POST, "/orders".to_owned())
            .json(&json!({ "product_id": 2, "quantity": 3 }))
            .await
            .expect(409);
        let change = json!({ "username": format!("{name}.x"), "email": "other@mail.example.com" });
        call(8, Method::PATCH, format!("/users/{id}")).json(&change).await.expect(200);
        let passwords =
            |current: &str| json!({ "current_password": current, "new_password": secrets[1] });
        call(9, Method::PUT, format!("/users/{id}/password"))
            .json(&passwords(secrets[2]))
            .await
            .expect(403);
        call(10, Method::PUT, format!("/users/{id}/password"))
            .json(&passwords(secrets[0]))
            .await
            .expect(204);
        call(11, Method::GET, "/orders".to_owned()).await.expect(401);
        store.post("/logout").header("x-request-id", step(12)).await.expect(401);
        let log_in = |n: u32| {
            store
                .post("/login")
                .header("x-request-id", step(n))
                .json(&json!({ "username": format!("{name}.x"), "password": secrets[1] }))
        };
        let second =
            log_in(13).await.expect(200).json()["access_token"].as_str().unwrap().to_owned();
        store.post("/logout").header("x-request-id", step(14)).bearer(&second).await.expect(204);
        let third =
            log_in(15).await.expect(200).json()["access_token"].as_str().unwrap().to_owned();
        store
            .call(Method::DELETE, format!("/users/{id}"))
            .header("x-request-id", step(16))
            .bearer(&third)
            .await
            .expect(204);
        log_in(17).await.expect(401);

        let me = format!("user:{id}");
        let (me, the_order) = (me.as_str(), format!("order:{order_id}"));
        // Step, event, service, level, actor, subject.
        let expected = [
            (1, "user_registered", "db", "LEVEL_INFO", me, me),
            (2, "log_in_failed", "api", "LEVEL_WARN", "anonymous", me),
            (3, "user_logged_in", "db", "LEVEL_INFO", me, me),
            (4, "order_placed", "db", "LEVEL_INFO", me, the_order.as_str()),
            (5, "order_cancelled", "db", "LEVEL_INFO", me, the_order.as_str()),
            (7, "order_refused", "db", "LEVEL_WARN", me, "product:2"),
            (8, "user_updated", "db", "LEVEL_INFO", me, me),
            (9, "password_refused", "api", "LEVEL_WARN", me, me),
            (10, "user_password_changed", "db", "LEVEL_INFO", me, me),
            (11, "token_refused", "api", "LEVEL_WARN", "anonymous", me),
            (12, "token_refused", "api", "LEVEL_WARN", "anonymous", ""),
            (13, "user_logged_in", "db", "LEVEL_INFO", me, me),
            (14, "user_logged_out", "db", "LEVEL_INFO", me, me),
            (15, "user_logged_in", "db", "LEVEL_INFO", me, me),
            (16, "user_deactivated", "db", "LEVEL_INFO", me, me),
            (17, "log_in_failed", "api", "LEVEL_WARN", "anonymous", ""),
        ];
        store.expect_events(expected.iter().map(|event| event.1));
        let records = store.events().await.find_all("the journey", expected.len(), |_| true).await;
        for record in &records {
            well_formed(record);
            let text = record.value.to_string();
            for secret in secrets.iter().copied().chain(["scrypt", "eyJ", &token, &second, &third])
            {
                assert!(!text.contains(secret), "{secret} is in {text}");
            }
        }
        for (n, word, service, level, actor, subject) in expected {
            let record = records
                .iter()
                .find(|record| record.text("requestId") == step(n))
                .unwrap_or_else(|| panic!("step {n}: no event"));
            let is = (
                record.name(),
                record.text("service"),
                record.text("level"),
                record.text("actor"),
                record.text("subject"),
            );
            assert_eq!(is, (word, service, level, actor, subject), "step {n}");
        }
        assert_eq!(records.len(), expected.len(), "one event per change: {records:#?}");

        let step =
            |n: u32| records.iter().find(|record| record.text("requestId") == step(n)).unwrap();
        assert_eq!(step(1).text("traceId"), TRACE);
        assert_eq!(step(2).text("traceId"), "");
        let placed = step(4);
        let facts = ["product_id", "quantity", "total_price_cents", "currency"]
            .map(|name| placed.attribute(name));
        assert_eq!(facts, ["1", "2", "9998", "CNY"]);
        assert_eq!(step(7).attribute("reason"), "out_of_stock");
        assert_eq!(step(8).attribute("changed"), "username,email");
        assert_eq!(
            (step(2).attribute("reason"), step(17).attribute("reason")),
            ("wrong_password", "unknown_user")
        );
        assert_eq!(
            (step(11).attribute("reason"), step(12).attribute("reason")),
            ("revoked", "missing")
        );
        assert_eq!(step(2).attribute("client_address"), "127.0.0.1");

        // Events of one subject are ordered in one partition.
        assert_eq!(step(4).partition, step(5).partition);
        assert!(step(4).offset < step(5).offset);
        let mine: Vec<&Record> = records
            .iter()
            .filter(|record| record.text("subject") == me && record.text("service") == "db")
            .collect();
        assert!(mine.iter().all(|record| record.partition == mine[0].partition));
        let words: Vec<&str> = mine.iter().map(|record| record.name()).collect();
        assert_eq!(
            words,
            [
                "user_registered",
                "user_logged_in",
                "user_updated",
                "user_password_changed",
                "user_logged_in",
                "user_logged_out",
                "user_logged_in",
                "user_deactivated"
            ]
        );
    }

    async fn refused_requests_log_no_change(store: &TestStore) {
        let alice = store.user().await;
        alice.order(999, 1).await.expect(404);
        alice.order(1, 9).await.expect(400);
        alice.call(Method::PATCH, alice.path()).json(&json!({})).await.expect(200);
        alice
            .call(Method::PATCH, alice.path())
            .header("if-match", "\"99\"")
            .json(&json!({ "email": "x@example.com" }))
            .await
            .expect(412);
        store.post("/users").json(&json!({ "sid": alice.sid, "username": "x.y.z", "email": "x@example.com", "password": "8 chars!" })).await.expect(409);
        // `finish` checks that only the registration and the log-in are there.
    }

    async fn orders_succeed_without_the_logging_service(store: &TestStore) {
        let alice = store.user().await;
        store.stop_logging().await;
        let placed = alice.order(1, 1).await.expect(201);
        alice.log_in("wrong").await.expect(401);
        store.expect_events(["order_placed", "log_in_failed"]);
        store.restart_logging().await;
        // The events waited on disk.
        let id = format!("order:{}", placed.json()["id"].as_str().unwrap());
        store.events().await.find("the order", |record| record.text("subject") == id).await;
        store
            .events()
            .await
            .find("the failed log-in", |record| record.name() == "log_in_failed")
            .await;
    }

    async fn outbox_is_sent_after_a_restart(store: &TestStore) {
        let alice = store.user().await;
        store.stop_logging().await;
        alice.order(1, 1).await.expect(201);
        store.expect_events(["order_placed"]);
        store.restart_db().await;
        store.restart_logging().await;
        store.events().await.find("the order", |record| record.name() == "order_placed").await;
    }

    async fn failed_log_ins_do_not_log_the_username(store: &TestStore) {
        // Users may type their password into the username field.
        let answer = store
            .post("/login")
            .json(&json!({ "username": "my.secret.password", "password": TestUser::PASSWORD }))
            .await
            .expect(401);
        let id = answer.header("x-request-id").to_owned();
        store.expect_events(["log_in_failed"]);
        let record = store
            .events()
            .await
            .find("the failed log-in", |record| record.text("requestId") == id)
            .await;
        well_formed(&record);
        assert!(!record.value.to_string().contains("my.secret.password"));
        assert_eq!(record.attribute("reason"), "unknown_user");
    }
}
