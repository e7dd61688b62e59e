use super::*;

on_both!(
    async fn list_users_pages_and_logs_no_user(store: &TestService) {
        let operator = operator(store);
        let mut ids = vec![];
        for name in ["ada_one", "adatwo", "Ada_three", "bob"] {
            ids.push(store.register(name).await.user.id);
        }
        operator.deactivate(named("ada_one")).await.unwrap();
        let (mut seen, mut token, mut pages) = (vec![], String::new(), 0);
        loop {
            let page = operator.list(3, &token, None, None).await.unwrap();
            seen.extend(page.users.into_iter().map(|user| user.id));
            (token, pages) = (page.next_page_token, pages + 1);
            if token.is_empty() {
                break;
            }
        }
        assert_eq!((&seen, pages), (&ids, 2), "oldest first, each once");

        let names = async |prefix, active| -> Vec<String> {
            let page = operator.list(100, "", prefix, active).await.unwrap();
            assert_eq!(page.next_page_token, "");
            page.users.into_iter().map(|user| user.username).collect()
        };
        assert_eq!(
            names(Some("ADA"), None).await,
            ["ada_one", "adatwo", "Ada_three"],
            "without regard to case"
        );
        assert_eq!(
            names(Some("ada_"), None).await,
            ["ada_one", "Ada_three"],
            "`_` is not a wildcard"
        );
        assert_eq!(names(None, Some(false)).await, ["ada_one"]);
        assert_eq!(names(Some("ada"), Some(true)).await, ["adatwo", "Ada_three"]);
        assert!(names(Some("unknown_user"), None).await.is_empty());

        let first = operator.list(1, "", Some("ada"), None).await.unwrap();
        let second = operator.list(5, &first.next_page_token, None, None).await.unwrap();
        assert_eq!(
            second.users.iter().map(|user| user.username.as_str()).collect::<Vec<_>>(),
            ["adatwo", "Ada_three"]
        );
        let invalid = error(Code::InvalidArgument, ErrorReason::InvalidPageToken);
        for (token, prefix, active) in [
            (first.next_page_token.as_str(), Some("b"), None),
            (&first.next_page_token, None, Some(true)),
            ("x", None, None),
        ] {
            assert_eq!(error_of(operator.list(1, token, prefix, active).await), invalid);
        }
        for (size, prefix, field) in [
            (0, None, "page_size"),
            (101, None, "page_size"),
            (1, Some(""), "username_prefix"),
            (1, Some("a%"), "username_prefix"),
        ] {
            assert_eq!(invalid_fields(operator.list(size, "", prefix, None).await), [field]);
        }

        let events = store.events().await;
        let listed: Vec<_> = events.iter().filter(|event| event.event == "users_listed").collect();
        assert_eq!(
            listed.iter().map(|event| event.attributes["users"].as_str()).collect::<Vec<_>>()[..2],
            ["3", "1"]
        );
        for event in listed {
            assert_eq!((event.actor.as_str(), event.subject.as_str()), ("operator", ""));
            let text = format!("{event:?}");
            // Not `ada`, which may occur in a hexadecimal id.
            for private in ["ada_one", "adatwo", "Ada_three", "bob", "example.org", &ids[0]] {
                assert!(!text.contains(private), "{private}: {text}");
            }
        }
    }
);

on_both!(
    async fn deactivation_is_idempotent_and_revokes_tokens(store: &TestService) {
        let (operator, ada, bob) =
            (operator(store), store.register("ada").await, store.register("bob").await);
        let order = store.buy(&ada, HOODIE, 1).await;
        let done = operator.deactivate(named("ADA")).await.unwrap();
        let user = done.user.unwrap();
        assert!(done.changed && !user.active);
        assert_eq!((user.id.as_str(), user.version), (ada.user.id.as_str(), 2));
        assert_eq!(
            error_of(own(store, &ada).await),
            error(Code::Unauthenticated, ErrorReason::TokenRevoked)
        );
        let again = operator.deactivate(with_id(&ada.user.id)).await.unwrap();
        assert_eq!((again.changed, again.user), (false, Some(user)));
        own(store, &bob).await.unwrap();
        assert_eq!(store.count("orders WHERE status = 'placed'").await, 1, "{} stays", order.id);

        let missing = error(Code::NotFound, ErrorReason::UserNotFound);
        assert_eq!(error_of(operator.deactivate(named("unknown_user")).await), missing);
        assert_eq!(
            error_of(operator.deactivate(with_id("01981f3e-7a00-7000-8000-000000000001")).await),
            missing
        );
        assert_eq!(invalid_fields(operator.deactivate(with_id("7")).await), ["user.user_id"]);
        assert_eq!(invalid_fields(operator.deactivate(named("a b")).await), ["user.username"]);
        assert_eq!(
            invalid_fields(operator.deactivate(Some(UserRef { by: None })).await),
            ["user.by"]
        );
        assert_eq!(invalid_fields(operator.deactivate(None).await), ["user"]);
        let events = store.events().await;
        let deactivated: Vec<_> =
            events.iter().filter(|event| event.event == "user_deactivated").collect();
        assert_eq!(deactivated.len(), 1);
        assert_eq!(
            (&deactivated[0].actor, &deactivated[0].subject),
            (&"operator".to_owned(), &format!("user:{}", ada.user.id))
        );
    }
);

on_both!(
    async fn tokens_of_one_or_all_users_are_revoked(store: &TestService) {
        let (operator, ada, bob) =
            (operator(store), store.register("ada").await, store.register("bob").await);
        let answer = operator.revoke(Some(Whose::User(named("ada").unwrap()))).await.unwrap();
        assert_eq!(answer, RevokeTokensResponse { users: 1, next_page_token: String::new() });
        let revoked_error = error(Code::Unauthenticated, ErrorReason::TokenRevoked);
        assert_eq!(error_of(own(store, &ada).await), revoked_error);
        own(store, &bob).await.unwrap();
        own(store, &ada.with_token_version(2)).await.unwrap();
        assert_eq!(
            error_of(operator.revoke(Some(Whose::User(named("unknown_user").unwrap()))).await),
            error(Code::NotFound, ErrorReason::UserNotFound)
        );
        assert_eq!(invalid_fields(operator.revoke(None).await), ["whose"]);

        // More users than a batch, and one whose tokens are already revoked.
        let id = if store.backend() == sea_orm::DbBackend::Sqlite {
            "unhex(printf('ff%030x', n))"
        } else {
            "('ff' || lpad(to_hex(n), 30, '0'))::uuid"
        };
        let now = "2026-01-01T00:00:00Z";
        store
            .sql(&format!(
                "INSERT INTO users (id, sid, sid_key, username, username_key, email, email_key, \
                 password_hash, is_active, token_version, version, created_at, updated_at) \
                 WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1500) \
                 SELECT {id}, 's' || n, 's' || n, 'user' || n, 'user' || n, n || '@x', n || '@x', \
                 '$scrypt$x', n <> 7, 1, 1, '{now}', '{now}' FROM s"
            ))
            .await;
        let (mut users, mut pages, mut page_token) = (0, 0, String::new());
        loop {
            let answer =
                operator.revoke(Some(Whose::Everyone(Everyone { page_token }))).await.unwrap();
            (users, pages, page_token) = (users + answer.users, pages + 1, answer.next_page_token);
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!((users, pages), (1501, 2), "all that are active: ada, bob and 1,499 more");
        assert_eq!(store.count("users WHERE token_version = 1").await, 1);
        assert_eq!(error_of(own(store, &bob).await), revoked_error);
        assert_eq!(error_of(own(store, &ada.with_token_version(2)).await), revoked_error);
        let wrong = Everyone { page_token: "x".to_owned() };
        assert_eq!(
            error_of(operator.revoke(Some(Whose::Everyone(wrong))).await),
            error(Code::InvalidArgument, ErrorReason::InvalidPageToken)
        );
        let events = store.events().await;
        let revoked: Vec<_> =
            events.iter().filter(|event| event.event == "tokens_revoked").collect();
        let facts: Vec<_> = revoked
            .iter()
            .map(|event| (event.subject.as_str(), event.attributes["users"].as_str()))
            .collect();
        assert_eq!(
            facts,
            [(format!("user:{}", ada.user.id).as_str(), "1"), ("", "1000"), ("", "501")]
        );
        assert!(revoked.iter().all(|event| event.actor == "operator"));
    }
);
