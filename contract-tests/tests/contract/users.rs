//! `/users`: registering, reading, changing, deactivating.

use merch_contract::rest::client::{Error, types};
use merch_test_store::{TestStore, TestUser, fresh_name, on_both_databases};
use reqwest::Method;
use serde_json::{Value, json};

fn new_user(name: &str) -> Value {
    json!({ "sid": name, "username": name, "email": format!("{name}@mail.example.com"), "password": TestUser::PASSWORD })
}

fn with(mut body: Value, member: &str, value: impl Into<Value>) -> Value {
    body[member] = value.into();
    body
}

fn without(mut body: Value, member: &str) -> Value {
    body.as_object_mut().unwrap().remove(member);
    body
}

on_both_databases! {
    async fn registered_users_can_be_read(store: &TestStore) {
        let name = fresh_name();
        let registered = store.post("/users").json(&new_user(&name)).await.expect(201);
        store.expect_events(["user_registered"]);
        let user = registered.json();
        assert_eq!(
            (&user["sid"], &user["username"], &user["active"]),
            (&json!(name), &json!(name), &json!(true))
        );
        assert_eq!(user["created_at"], user["updated_at"]);
        assert_eq!(
            user["id"].as_str().unwrap().parse::<uuid::Uuid>().unwrap().get_version_num(),
            7
        );
        assert_eq!(
            registered.header("location"),
            format!("/users/{}", user["id"].as_str().unwrap())
        );

        let token = log_in(store, &name, TestUser::PASSWORD).await;
        let read = store.get(registered.header("location")).bearer(&token).await.expect(200);
        assert_eq!(read.json(), user);
        assert_eq!(read.header("etag"), registered.header("etag"));
    }

    async fn unique_members_ignore_case(store: &TestStore) {
        let name = fresh_name();
        store.post("/users").json(&new_user(&name)).await.expect(201);
        store.expect_events(["user_registered"]);
        for (member, code) in
            [("sid", "sid_taken"), ("username", "username_taken"), ("email", "email_taken")]
        {
            for taken in [
                new_user(&name)[member].as_str().unwrap().to_owned(),
                new_user(&name)[member].as_str().unwrap().to_uppercase(),
            ] {
                let other = with(new_user(&fresh_name()), member, taken);
                store.post("/users").json(&other).await.problem(409, code);
            }
        }
        // The first conflict in this order is reported.
        store.post("/users").json(&new_user(&name)).await.problem(409, "sid_taken");
        store
            .post("/users")
            .json(&with(new_user(&name), "sid", fresh_name()))
            .await
            .problem(409, "username_taken");
    }

    async fn concurrent_registrations_have_one_winner(store: &TestStore) {
        let name = fresh_name();
        let tries = (0..20).map(|_| {
            let body = with(new_user(&fresh_name()), "username", name.as_str());
            async move { store.post("/users").json(&body).await }
        });
        let answers = futures_util::future::join_all(tries).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
        answers
            .iter()
            .filter(|answer| answer.status != 201)
            .for_each(|answer| drop(answer.problem(409, "username_taken")));
        store.expect_events(["user_registered"]);
    }

    async fn registration_bounds_are_enforced(store: &TestStore) {
        let name = fresh_name();
        let email_255 = format!(
            "{}@{}.{}.{}.example.com",
            "a".repeat(60),
            "b".repeat(60),
            "c".repeat(60),
            "d".repeat(60)
        );
        assert_eq!(email_255.len(), 255);
        for (member, value) in [
            ("sid", "a"),
            ("sid", "A23456789012345"),
            ("username", "a.b"),
            ("username", &"n".repeat(50)),
            ("email", &email_255),
            ("password", "8 chars!"),
            ("password", &"p".repeat(128)),
            ("password", "пароль-из-слов"),
        ] {
            let body = with(new_user(&fresh_name()), member, value);
            store.post("/users").json(&body).await.expect(201);
            store.expect_events(["user_registered"]);
        }
        for (member, value) in [
            ("sid", json!("")),
            ("sid", json!("A234567890123456")),
            ("sid", json!("a-b")),
            ("sid", json!("a b")),
            ("sid", json!("é")),
            ("sid", json!("a\n")),
            ("sid", json!(12110301)),
            ("sid", Value::Null),
            ("username", json!("ab")),
            ("username", json!("n".repeat(51))),
            ("username", json!("a b c")),
            ("username", json!(["abc"])),
            ("email", json!("")),
            ("email", json!("not-an-email")),
            ("email", json!(format!("{}@example.com", "a".repeat(250)))),
            ("email", json!({})),
            ("password", json!("1234567")),
            ("password", json!("p".repeat(129))),
            ("password", json!(12345678)),
        ] {
            let answer =
                store.post("/users").json(&with(new_user(&name), member, value.clone())).await;
            assert_eq!(answer.faults(), [format!("body /{member}")], "{member}: {value}");
        }
        for member in ["sid", "username", "email", "password"] {
            assert_eq!(
                store.post("/users").json(&without(new_user(&name), member)).await.faults(),
                [format!("body /{member}")]
            );
        }
        assert_eq!(
            store.post("/users").json(&with(new_user(&name), "role", "admin")).await.faults(),
            ["body /role"]
        );
        assert_eq!(
            store.sql_integer("SELECT count(*) FROM users").await,
            8,
            "refused requests changed nothing"
        );
    }

    async fn all_faults_are_reported_without_secrets(store: &TestStore) {
        let secret = "hunter2";
        let body = json!({ "sid": "not a sid", "username": secret, "email": "not-an-email", "password": secret, "colour": secret });
        let answer = store.post("/users").json(&body).await;
        assert_eq!(answer.faults(), ["body /colour", "body /email", "body /password", "body /sid"]);
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        for sent in [secret, "not-an-email", "not a sid"] {
            assert!(!text.contains(sent), "{sent} is in {text}");
        }
    }

    async fn users_read_only_themselves(store: &TestStore) {
        let (alice, bob) = (store.user().await, store.user().await);
        let user = alice.client().get_user().user_id(alice.id).send().await.unwrap();
        assert_eq!(
            (user.id.to_string(), user.username.as_str()),
            (alice.id.to_string(), alice.username.as_str())
        );
        // Another user's resource looks like an unknown one.
        let others = alice.get(bob.path()).await.problem(404, "user_not_found");
        let unknown = alice
            .get(format!("/users/{}", uuid::Uuid::now_v7()))
            .await
            .problem(404, "user_not_found");
        assert_eq!((&others["title"], &others["detail"]), (&unknown["title"], &unknown["detail"]));
        for id in ["me", "1", "0198c0de", "0198C0DE-7E57-7000-8000-00000000000G", "%00"] {
            assert_eq!(alice.get(format!("/users/{id}")).await.faults(), ["path /user_id"], "{id}");
            assert_eq!(
                alice.call(Method::DELETE, format!("/users/{id}")).await.faults(),
                ["path /user_id"],
                "{id}"
            );
        }
    }

    async fn conditional_reads_return_304(store: &TestStore) {
        let alice = store.user().await;
        let etag = alice.get(alice.path()).await.expect(200).header("etag").to_owned();
        let unchanged = alice.get(alice.path()).header("if-none-match", &etag).await.expect(304);
        assert_eq!((unchanged.header("etag"), unchanged.body.len()), (etag.as_str(), 0));
        alice
            .call(Method::PATCH, alice.path())
            .json(&json!({ "email": "other@mail.example.com" }))
            .await
            .expect(200);
        store.expect_events(["user_updated"]);
        let changed = alice.get(alice.path()).header("if-none-match", &etag).await.expect(200);
        assert_ne!(changed.header("etag"), etag);
        assert_eq!(
            alice.get(alice.path()).header("if-none-match", "1").await.faults(),
            ["header /If-None-Match"]
        );
    }

    async fn updates_change_only_sent_members(store: &TestStore) {
        let alice = store.user().await;
        let before = alice.get(alice.path()).await.json();
        let name = format!("{}.x", alice.username);
        let renamed = alice
            .call(Method::PATCH, alice.path())
            .json(&json!({ "username": name }))
            .await
            .expect(200);
        let after = renamed.json();
        store.expect_events(["user_updated"]);
        assert_eq!(
            (&after["username"], &after["email"], &after["sid"]),
            (&json!(name), &before["email"], &before["sid"])
        );
        assert_eq!(after["created_at"], before["created_at"]);
        assert_eq!(alice.get(alice.path()).await.json(), after);
        log_in(store, &name, TestUser::PASSWORD).await;
        alice.log_in(TestUser::PASSWORD).await.problem(401, "invalid_credentials");
        store.expect_events(["log_in_failed"]);

        // An empty change causes no event.
        for nothing in [json!({}), json!({ "username": name }), json!({ "email": after["email"] })]
        {
            let unchanged =
                alice.call(Method::PATCH, alice.path()).json(&nothing).await.expect(200);
            assert_eq!(
                (unchanged.json(), unchanged.header("etag")),
                (after.clone(), renamed.header("etag"))
            );
        }
        // A change of only the case does not conflict with the current username.
        alice
            .call(Method::PATCH, alice.path())
            .json(&json!({ "username": name.to_uppercase() }))
            .await
            .expect(200);
        store.expect_events(["user_updated"]);
    }

    async fn conditional_updates_check_the_version(store: &TestStore) {
        let alice = store.user().await;
        let change =
            |name: &str| alice.call(Method::PATCH, alice.path()).json(&json!({ "username": name }));
        let etag = alice.get(alice.path()).await.header("etag").to_owned();
        for condition in ["\"999\"", "\"0\"", "\"abc\"", &format!("W/{etag}")] {
            change("not.this").header("if-match", condition).await.problem(412, "version_mismatch");
        }
        assert_eq!(
            change("not.this").header("if-match", "nonsense").await.faults(),
            ["header /If-Match"]
        );
        assert_eq!(alice.get(alice.path()).await.header("etag"), etag);
        change(&fresh_name()).header("if-match", format!("\"999\", {etag}")).await.expect(200);
        change(&fresh_name()).header("if-match", &etag).await.problem(412, "version_mismatch");
        change(&fresh_name()).header("if-match", "*").await.expect(200);
        store.expect_events(["user_updated", "user_updated"]);

        // One of many concurrent changes of a version succeeds.
        let etag = alice.get(alice.path()).await.header("etag").to_owned();
        let answers = futures_util::future::join_all(
            (0..10).map(|_| change(&fresh_name()).header("if-match", &etag).into_future()),
        )
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        answers
            .iter()
            .filter(|answer| answer.status != 200)
            .for_each(|answer| drop(answer.problem(412, "version_mismatch")));
        store.expect_events(["user_updated"]);
    }

    async fn invalid_updates_change_nothing(store: &TestStore) {
        let (alice, bob) = (store.user().await, store.user().await);
        let change = |body: Value| alice.call(Method::PATCH, alice.path()).json(&body);
        change(json!({ "username": bob.username.to_uppercase() }))
            .await
            .problem(409, "username_taken");
        change(json!({ "email": bob.email.to_uppercase() })).await.problem(409, "email_taken");
        for (body, faults) in [
            (json!({ "username": "ab" }), vec!["body /username"]),
            (json!({ "username": null }), vec!["body /username"]),
            (json!({ "sid": "123" }), vec!["body /sid"]),
            (json!({ "active": false, "email": 1 }), vec!["body /active", "body /email"]),
            (json!([]), vec!["body "]),
            (json!(null), vec!["body "]),
        ] {
            assert_eq!(change(body.clone()).await.faults(), faults, "{body}");
        }
        alice
            .call(Method::PATCH, bob.path())
            .json(&json!({ "username": "mine.now" }))
            .await
            .problem(404, "user_not_found");
        assert_eq!(bob.get(bob.path()).await.json()["username"], bob.username.as_str());
    }

    async fn typed_errors_carry_the_problem(store: &TestStore) {
        let alice = store.user().await;
        let body = types::Registration::builder()
            .sid("1")
            .username(alice.username.clone())
            .email("x@example.com")
            .password(TestUser::PASSWORD);
        match store.anonymous().register().body(body).send().await.unwrap_err() {
            Error::ErrorResponse(problem) => assert_eq!(
                (problem.status().as_u16(), problem.code.as_str()),
                (409, "username_taken")
            ),
            other => panic!("{other:?}"),
        }
    }

    async fn deactivation_keeps_only_the_orders(store: &TestStore) {
        let (alice, bob) = (store.user().await, store.user().await);
        bob.call(Method::DELETE, alice.path()).await.problem(404, "user_not_found");
        alice.order(1, 1).await.expect(201);
        store.expect_events(["order_placed"]);

        alice.call(Method::DELETE, alice.path()).await.expect(204);
        store.expect_events(["user_deactivated"]);
        alice.get(alice.path()).await.problem(401, "token_invalid");
        alice.call(Method::DELETE, alice.path()).await.problem(401, "token_invalid");
        alice.order(1, 1).await.problem(401, "token_invalid");
        store.expect_event_count("token_refused", 3);

        // The same response as for an unknown user.
        let refused = alice.log_in(TestUser::PASSWORD).await.problem(401, "invalid_credentials");
        let unknown = store
            .post("/login")
            .json(&json!({ "username": "unknown.user", "password": "x" }))
            .await
            .problem(401, "invalid_credentials");
        assert_eq!(
            (&refused["title"], &refused["detail"]),
            (&unknown["title"], &unknown["detail"])
        );
        store.expect_event_count("log_in_failed", 2);

        assert_eq!(store.sql_integer("SELECT count(*) FROM orders").await, 1);
        let again = with(new_user(&fresh_name()), "username", alice.username.as_str());
        store.post("/users").json(&again).await.problem(409, "username_taken");
    }
}

async fn log_in(store: &TestStore, username: &str, password: &str) -> String {
    let answer = store
        .post("/login")
        .json(&json!({ "username": username, "password": password }))
        .await
        .expect(200);
    store.expect_events(["user_logged_in"]);
    answer.json()["access_token"].as_str().unwrap().to_owned()
}
