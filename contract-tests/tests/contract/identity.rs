//! `/login`, `/logout`, `/users/{user_id}/password`, and tokens.

use std::{num::NonZeroU32, time::Duration};

use merch_api::{Cost, Rate};
use merch_test_store::{TestStore, TestUser, on_both_databases};
use reqwest::Method;
use serde_json::{Value, json};

/// Every secured request, for the user's own resources.
fn with_token(user: &TestUser<'_>) -> Vec<(Method, String, Option<Value>)> {
    let id = uuid::Uuid::now_v7();
    vec![
        (Method::POST, "/logout".to_owned(), None),
        (Method::GET, user.path(), None),
        (Method::PATCH, user.path(), Some(json!({}))),
        (Method::DELETE, user.path(), None),
        (
            Method::PUT,
            format!("{}/password", user.path()),
            Some(json!({ "current_password": "x", "new_password": "12345678" })),
        ),
        (Method::POST, "/orders".to_owned(), Some(json!({ "product_id": 1, "quantity": 1 }))),
        (Method::GET, "/orders".to_owned(), None),
        (Method::GET, format!("/orders/{id}"), None),
        (Method::POST, format!("/orders/{id}/cancel"), None),
    ]
}

/// Sends every request with this `Authorization` and expects a refusal.
async fn refused_everywhere(
    store: &TestStore,
    user: &TestUser<'_>,
    authorization: &[&str],
    code: &str,
) {
    let requests = with_token(user);
    store.expect_event_count("token_refused", requests.len());
    for (method, path, body) in requests {
        let mut call = store.call(method, path);
        for value in authorization {
            call = call.header("authorization", value);
        }
        if let Some(body) = body {
            call = call.json(&body);
        }
        call.await.problem(401, code);
    }
}

async fn assert_revoked_everywhere(store: &TestStore, user: &TestUser<'_>) {
    refused_everywhere(store, user, &[&format!("Bearer {}", user.token)], "token_invalid").await;
}

async fn change_password(
    user: &TestUser<'_>,
    current: &str,
    new: &str,
) -> merch_test_store::Answer {
    user.call(Method::PUT, format!("{}/password", user.path()))
        .json(&json!({ "current_password": current, "new_password": new }))
        .await
}

/// A part of a JWT, as JSON.
fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&base64url(part)).unwrap()
}

fn base64url(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = text.bytes().flat_map(|byte| {
        let value = ALPHABET.iter().position(|letter| *letter == byte).unwrap();
        (0..6).rev().map(move |bit| value >> bit & 1)
    });
    let mut bytes = Vec::new();
    while let Some(first) = bits.next() {
        let rest: Vec<usize> = bits.by_ref().take(7).collect();
        if rest.len() < 7 {
            break;
        }
        bytes.push(rest.into_iter().fold(first, |byte, bit| byte << 1 | bit) as u8);
    }
    bytes
}

on_both_databases! {
    async fn log_in_returns_a_valid_token(store: &TestStore) {
        let alice = store.user().await;
        for username in [alice.username.clone(), alice.username.to_uppercase()] {
            let answer = store
                .post("/login")
                .json(&json!({ "username": username, "password": TestUser::PASSWORD }))
                .await
                .expect(200);
            let token = answer.json();
            assert_eq!(
                (&token["token_type"], &token["expires_in"], &token["user_id"]),
                (&json!("Bearer"), &json!(86_400), &json!(alice.id))
            );
            let token = token["access_token"].as_str().unwrap();
            for scheme in ["Bearer", "bearer", "BEARER"] {
                store
                    .get(alice.path())
                    .header("authorization", format!("{scheme} {token}"))
                    .await
                    .expect(200);
            }
            store.expect_events(["user_logged_in"]);
        }
    }

    async fn tokens_have_the_required_claims(store: &TestStore) {
        let alice = store.user().await;
        let (header, claims) = (part(&alice.token, 0), part(&alice.token, 1));
        assert_eq!((&header["alg"], &header["typ"]), (&json!("HS256"), &json!("at+jwt")));
        assert!(header["kid"].is_string());
        assert_eq!(claims["sub"], json!(alice.id));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 86_400);
        for claim in ["iss", "aud", "nbf", "jti"] {
            assert!(!claims[claim].is_null(), "{claim}");
        }
        let other = store.user().await;
        assert_ne!(part(&other.token, 1)["jti"], claims["jti"]);
    }

    async fn failed_log_ins_do_not_reveal_the_reason(store: &TestStore) {
        let alice = store.user().await;
        let wrong = alice.log_in("wrong horse").await;
        let unknown = store
            .post("/login")
            .json(&json!({ "username": "unregistered", "password": TestUser::PASSWORD }))
            .await;
        let (wrong, unknown) = (
            wrong.problem(401, "invalid_credentials"),
            unknown.problem(401, "invalid_credentials"),
        );
        assert_eq!(
            (&wrong["title"], &wrong["detail"], &wrong["type"]),
            (&unknown["title"], &unknown["detail"], &unknown["type"])
        );
        // A password too short to be registered is treated as a wrong one.
        alice.log_in("x").await.problem(401, "invalid_credentials");
        // Passwords are compared with case and white space.
        alice.log_in(&TestUser::PASSWORD.to_uppercase()).await.problem(401, "invalid_credentials");
        alice.log_in(&format!("{} ", TestUser::PASSWORD)).await.problem(401, "invalid_credentials");
        store.expect_event_count("log_in_failed", 5);
        for (body, faults) in [
            (json!({ "username": alice.username }), vec!["body /password"]),
            (
                json!({ "username": "a b", "password": "" }),
                vec!["body /password", "body /username"],
            ),
            (
                json!({ "username": alice.username, "password": "p".repeat(129) }),
                vec!["body /password"],
            ),
            (
                json!({ "username": alice.username, "password": "x", "remember": true }),
                vec!["body /remember"],
            ),
        ] {
            assert_eq!(store.post("/login").json(&body).await.faults(), faults, "{body}");
        }
    }

    async fn secured_operations_refuse_invalid_tokens(store: &TestStore) {
        let alice = store.user().await;
        let (header, claims, signature) = {
            let mut parts = alice.token.split('.');
            (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap())
        };
        // {"alg":"none","typ":"at+jwt"}
        let none = format!("Bearer eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{claims}.");
        let other_signature: String = signature.chars().rev().collect();
        refused_everywhere(store, &alice, &[], "token_missing").await;
        refused_everywhere(store, &alice, &["Basic YTpi"], "token_missing").await;
        for broken in [
            "Bearer",
            "Bearer ",
            "Bearer x y",
            "Bearer x",
            "Bearer a.b.c",
            "Bearer \u{e9}",
            &none,
            &format!("Bearer {header}.{claims}.{other_signature}"),
        ] {
            let requests = with_token(&alice);
            let (method, path, _) = &requests[1];
            store
                .call(method.clone(), path)
                .header("authorization", broken)
                .await
                .problem(401, "token_invalid");
            store.expect_events(["token_refused"]);
        }
        // Never a 500.
        for odd in ["x", "", "Bearer\t", alice.token.as_str()] {
            let answer = store.get(alice.path()).header("authorization", odd).await.expect(401);
            assert!(
                ["token_missing", "token_invalid"]
                    .contains(&answer.json()["code"].as_str().unwrap())
            );
            store.expect_events(["token_refused"]);
        }
        // Two credentials are refused, even if both are valid.
        let good = format!("Bearer {}", alice.token);
        store
            .get(alice.path())
            .header("authorization", &good)
            .header("authorization", &good)
            .await
            .problem(401, "token_invalid");
        store.expect_events(["token_refused"]);
        // Without a token, neither ids nor faults of the body are revealed.
        store.post("/orders").json(&json!({})).await.problem(401, "token_missing");
        store.get("/orders/1").await.problem(401, "token_missing");
        store.expect_event_count("token_refused", 2);
    }

    async fn log_out_revokes_all_tokens(store: &TestStore) {
        let alice = store.user().await;
        let second = alice.log_in(TestUser::PASSWORD).await.expect(200).json()["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        store.post("/logout").bearer(&second).await.expect(204);
        store.expect_events(["user_logged_in", "user_logged_out"]);
        assert_revoked_everywhere(store, &alice).await;
        store.get(alice.path()).bearer(&second).await.problem(401, "token_invalid");
        store.expect_events(["token_refused"]);
        let third = alice.log_in(TestUser::PASSWORD).await.expect(200).json()["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        store.get(alice.path()).bearer(&third).await.expect(200);
        store.expect_events(["user_logged_in"]);
    }

    async fn password_change_revokes_all_tokens(store: &TestStore) {
        let alice = store.user().await;
        change_password(&alice, TestUser::PASSWORD, "a much longer battery staple")
            .await
            .expect(204);
        store.expect_events(["user_password_changed"]);
        assert_revoked_everywhere(store, &alice).await;
        alice.log_in(TestUser::PASSWORD).await.problem(401, "invalid_credentials");
        let token =
            alice.log_in("a much longer battery staple").await.expect(200).json()["access_token"]
                .as_str()
                .unwrap()
                .to_owned();
        store.get(alice.path()).bearer(&token).await.expect(200);
        store.expect_events(["log_in_failed", "user_logged_in"]);
    }

    async fn deactivation_revokes_all_tokens(store: &TestStore) {
        let alice = store.user().await;
        alice.call(Method::DELETE, alice.path()).await.expect(204);
        store.expect_events(["user_deactivated"]);
        assert_revoked_everywhere(store, &alice).await;
    }

    async fn password_change_requires_the_current_password(store: &TestStore) {
        let (alice, bob) = (store.user().await, store.user().await);
        let problem = change_password(&alice, "wrong horse", "a much longer battery staple")
            .await
            .problem(403, "wrong_password");
        assert!(
            !problem.to_string().contains("wrong horse")
                && !problem.to_string().contains("battery")
        );
        store.expect_events(["password_refused"]);
        let body = json!({ "current_password": TestUser::PASSWORD, "new_password": "a much longer battery staple" });
        bob.call(Method::PUT, format!("{}/password", alice.path()))
            .json(&body)
            .await
            .problem(404, "user_not_found");
        for (body, faults) in [
            (
                json!({ "current_password": "", "new_password": "1234567" }),
                vec!["body /current_password", "body /new_password"],
            ),
            (json!({ "new_password": "12345678" }), vec!["body /current_password"]),
        ] {
            let answer =
                alice.call(Method::PUT, format!("{}/password", alice.path())).json(&body).await;
            assert_eq!(answer.faults(), faults, "{body}");
        }
        // Nothing has changed.
        alice.get(alice.path()).await.expect(200);
        alice.log_in(TestUser::PASSWORD).await.expect(200);
        store.expect_events(["user_logged_in"]);
    }

    async fn concurrent_password_changes_have_one_winner(store: &TestStore) {
        let alice = store.user().await;
        let (one, other) = tokio::join!(
            change_password(&alice, TestUser::PASSWORD, "the first new password"),
            change_password(&alice, TestUser::PASSWORD, "the other new password")
        );
        let won: Vec<u16> = [&one, &other]
            .iter()
            .map(|answer| answer.status)
            .filter(|status| *status == 204)
            .collect();
        assert_eq!(won.len(), 1, "{one}{other}");
        let (winner, loser) = if one.status == 204 {
            ("the first new password", &other)
        } else {
            ("the other new password", &one)
        };
        // The loser sent an outdated password or a revoked token.
        match loser.status {
            401 => {
                loser.problem(401, "token_invalid");
                store.expect_events(["token_refused"]);
            }
            _ => {
                loser.problem(403, "wrong_password");
                store.expect_events(["password_refused"]);
            }
        }
        alice.log_in(winner).await.expect(200);
        store.expect_events(["user_password_changed", "user_logged_in"]);
    }

    #[with(|options| options.signing_key = b"another key for tests, of more than thirty-two".to_vec())]
    async fn tokens_of_another_store_are_refused(store: &TestStore) {
        let other = TestStore::start(merch_test_store::Database::Sqlite).await;
        let (foreign, alice) = (other.user().await.token, store.user().await);
        other.finish().await;
        store.get(alice.path()).bearer(&foreign).await.problem(401, "token_invalid");
        store.expect_events(["token_refused"]);
    }

    #[with(|options| options.token_lifetime = Duration::from_secs(1))]
    async fn expired_tokens_are_refused(store: &TestStore) {
        let alice = store.user().await;
        let deadline = tokio::time::Instant::now() + merch_test_store::TIMEOUT;
        loop {
            let answer = alice.get(alice.path()).await;
            if answer.status == 401 {
                answer.problem(401, "token_invalid");
                break;
            }
            answer.expect(200);
            assert!(tokio::time::Instant::now() < deadline, "the token did not expire");
            tokio::task::yield_now().await;
        }
        store.expect_events(["token_refused"]);
    }

    #[with(|options| options.log_ins_per_account = Rate::new(NonZeroU32::new(3).unwrap(), Duration::from_secs(600)))]
    async fn wrong_passwords_are_limited_per_account(store: &TestStore) {
        let (alice, bob) = (store.user().await, store.user().await);
        // A successful log-in does not count; usernames ignore case.
        for _ in 0..2 {
            alice.log_in("wrong").await.problem(401, "invalid_credentials");
        }
        let upper_case = json!({ "username": alice.username.to_uppercase(), "password": "wrong" });
        store.post("/login").json(&upper_case).await.problem(401, "invalid_credentials");
        store.expect_event_count("log_in_failed", 3);
        for password in ["wrong", TestUser::PASSWORD] {
            let answer = alice.log_in(password).await;
            answer.problem(429, "too_many_attempts");
            let after: u64 = answer.header("retry-after").parse().unwrap();
            assert!((1..=600).contains(&after), "{after}");
        }
        bob.log_in(TestUser::PASSWORD).await.expect(200);
        store.expect_events(["user_logged_in"]);
        // Existing sessions are not limited.
        alice.get(alice.path()).await.expect(200);
        // Invalid requests do not count.
        bob.log_in("").await.faults();
        // Correct passwords neither count nor reset the budget.
        for _ in 0..2 {
            bob.log_in("wrong").await.problem(401, "invalid_credentials");
            bob.log_in(TestUser::PASSWORD).await.expect(200);
            store.expect_events(["log_in_failed", "user_logged_in"]);
        }
        bob.log_in("wrong").await.problem(401, "invalid_credentials");
        store.expect_events(["log_in_failed"]);
        bob.log_in(TestUser::PASSWORD).await.problem(429, "too_many_attempts");
    }

    #[with(|options| options.log_ins_per_account = Rate::new(NonZeroU32::new(3).unwrap(), Duration::from_secs(600)))]
    async fn password_changes_share_the_log_in_limit(store: &TestStore) {
        let alice = store.user().await;
        let new = "a much longer battery staple";
        for _ in 0..2 {
            change_password(&alice, "wrong horse", new).await.problem(403, "wrong_password");
        }
        alice.log_in("wrong").await.problem(401, "invalid_credentials");
        store.expect_event_count("password_refused", 2);
        store.expect_events(["log_in_failed"]);
        for current in ["wrong horse", TestUser::PASSWORD] {
            let answer = change_password(&alice, current, new).await;
            answer.problem(429, "too_many_attempts");
            let after: u64 = answer.header("retry-after").parse().unwrap();
            assert!((1..=600).contains(&after), "{after}");
        }
        alice.log_in(TestUser::PASSWORD).await.problem(429, "too_many_attempts");
    }

    /// The default budgets.
    #[with(|options| {
        options.log_ins_per_account = Rate::new(NonZeroU32::new(10).unwrap(), Duration::from_secs(360));
        options.log_ins_over_all_addresses = Rate::new(NonZeroU32::new(100).unwrap(), Duration::from_secs(36));
        options.trusted_proxies = "127.0.0.1".parse().unwrap();
    })]
    async fn owner_can_log_in_during_an_attack(store: &TestStore) {
        let alice = store.user().await;
        let log_in = async |from: &str, password: &str| {
            let body = json!({ "username": alice.username, "password": password });
            store.post("/login").header("x-forwarded-for", from).json(&body).await
        };
        let unknown_addresses = ["198.51.100.1", "198.51.100.2", "2001:db8::1"];
        let guesses = async {
            let mut judged = 0;
            for _ in 0..30 {
                for address in unknown_addresses {
                    let answer = log_in(address, "wrong").await;
                    if answer.status == 401 {
                        judged += 1
                    } else {
                        drop(answer.problem(429, "too_many_attempts"))
                    }
                }
            }
            judged
        };
        let owner = async {
            for _ in 0..15 {
                // A known and an unknown address.
                for address in ["127.0.0.1", "203.0.113.7"] {
                    log_in(address, TestUser::PASSWORD).await.expect(200);
                }
            }
        };
        let (judged, ()) = tokio::join!(guesses, owner);
        assert_eq!(judged, 30, "ten of each");
        // Addresses of one /64 are one client.
        log_in("2001:db8::2", "wrong").await.problem(429, "too_many_attempts");
        store.expect_event_count("log_in_failed", judged);
        store.expect_event_count("user_logged_in", 30);
    }

    #[with(|options| {
        options.log_ins_per_account = Rate::new(NonZeroU32::new(2).unwrap(), Duration::from_secs(600));
        options.log_ins_over_all_addresses = Rate::new(NonZeroU32::new(5).unwrap(), Duration::from_secs(600));
        options.trusted_proxies = "127.0.0.1".parse().unwrap();
    })]
    async fn known_addresses_bypass_the_account_limit(store: &TestStore) {
        let alice = store.user().await;
        let log_in = async |name: &str, from: &str, password: &str| {
            let body = json!({ "username": name, "password": password });
            store.post("/login").header("x-forwarded-for", from).json(&body).await
        };
        // Unknown usernames get the same response.
        for name in [alice.username.as_str(), "unregistered"] {
            let mut statuses = Vec::new();
            for n in 0..4 {
                for _ in 0..2 {
                    statuses.push(log_in(name, &format!("198.51.100.{n}"), "wrong").await.status);
                }
            }
            assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429], "{name}");
        }
        store.expect_event_count("log_in_failed", 10);
        log_in(&alice.username, "203.0.113.7", TestUser::PASSWORD)
            .await
            .problem(429, "too_many_attempts");
        for _ in 0..5 {
            log_in(&alice.username, "127.0.0.1", TestUser::PASSWORD).await.expect(200);
        }
        store.expect_event_count("user_logged_in", 5);
    }

    async fn common_passwords_are_refused(store: &TestStore) {
        let alice = store.user().await;
        let name = merch_test_store::fresh_name();
        let email = format!("{name}@mail.example.com");
        for password in
            ["Password1", "12345678", "00000000", name.to_uppercase().as_str(), email.as_str()]
        {
            let user =
                json!({ "sid": name, "username": name, "email": email, "password": password });
            let problem = store.post("/users").json(&user).await.problem(422, "guessable_password");
            assert!(!problem.to_string().contains(password), "{problem}");
        }
        for new in ["Password1", alice.username.as_str(), alice.email.as_str()] {
            change_password(&alice, TestUser::PASSWORD, new)
                .await
                .problem(422, "guessable_password");
        }
    }

    #[with(|options| options.registrations_per_address = Rate::new(NonZeroU32::new(3).unwrap(), Duration::from_secs(600)))]
    async fn registrations_are_limited_per_address(store: &TestStore) {
        let alice = store.user().await;
        let user = json!({ "sid": alice.sid, "username": alice.username, "email": alice.email, "password": TestUser::PASSWORD });
        for _ in 0..2 {
            store.post("/users").json(&user).await.problem(409, "sid_taken");
        }
        let answer = store.post("/users").json(&user).await;
        answer.problem(429, "too_many_attempts");
        let after: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=600).contains(&after), "{after}");
        alice.log_in(TestUser::PASSWORD).await.expect(200);
        store.expect_events(["user_logged_in"]);
    }

    async fn log_in_rehashes_outdated_hashes(store: &TestStore) {
        let alice = store.user().await;
        let mut options = store.options().clone();
        options.hash_cost = Cost::new(10).unwrap();
        let dearer = store.start_another_api(&options, store.db_url()).await;
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let body = json!({ "username": alice.username, "password": TestUser::PASSWORD });
        let renewed =
            "SELECT COUNT(*) FROM users WHERE password_hash LIKE '$scrypt$ln=10,r=8,p=1$%'";
        assert_eq!(store.sql_integer(renewed).await, 0);
        assert_eq!(
            http.post(format!("{dearer}/login")).json(&body).send().await.unwrap().status(),
            200
        );
        assert_eq!(store.sql_integer(renewed).await, 1);
        // Tokens and password stay valid.
        alice.get(alice.path()).await.expect(200);
        assert_eq!(
            http.post(format!("{dearer}/login")).json(&body).send().await.unwrap().status(),
            200
        );
        store.expect_event_count("user_logged_in", 2);
    }

    #[with(|options| options.log_ins_per_address = Rate::new(NonZeroU32::new(5).unwrap(), Duration::from_secs(600)))]
    async fn log_ins_are_limited_per_address(store: &TestStore) {
        for n in 0..5 {
            store
                .post("/login")
                .json(&json!({ "username": format!("unregistered.{n}"), "password": "x" }))
                .await
                .problem(401, "invalid_credentials");
        }
        store.expect_event_count("log_in_failed", 5);
        // An untrusted `X-Forwarded-For` is ignored.
        let call = store
            .post("/login")
            .header("x-forwarded-for", "192.0.2.7")
            .json(&json!({ "username": "unregistered", "password": "x" }));
        call.await.problem(429, "too_many_attempts");
    }

    /// Two hashes only, because each takes half a second.
    #[with(|options| options.hash_cost = Cost::default())]
    async fn default_hash_cost_is_applied(store: &TestStore) {
        let alice = store.user().await;
        alice.log_in("wrong").await.problem(401, "invalid_credentials");
        store.expect_events(["log_in_failed"]);
        // N = 2^17, r = 8, p = 1: `$scrypt$ln=17,r=8,p=1$`.
        assert_eq!(
            store
                .sql_integer(
                    "SELECT count(*) FROM users WHERE password_hash LIKE '$scrypt$ln=17,r=8,p=1$%'"
                )
                .await,
            1
        );
    }

    async fn passwords_are_not_stored_in_plain_text(store: &TestStore) {
        store.user().await;
        assert_eq!(
            store
                .sql_integer(&format!(
                    "SELECT count(*) FROM users WHERE password_hash LIKE '%{}%'",
                    TestUser::PASSWORD
                ))
                .await,
            0
        );
        assert_eq!(
            store
                .sql_integer("SELECT count(*) FROM users WHERE password_hash LIKE '$scrypt$%'")
                .await,
            1
        );
    }
}
