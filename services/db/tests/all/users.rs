use merch_contract::grpc::assistant::v1::{get_credentials_request::By, *};
use tonic::Code;

use crate::harness::*;

async fn credentials(store: &TestService, by: By) -> Result<GetCredentialsResponse, tonic::Status> {
    Ok(store
        .client()
        .get_credentials(call(GetCredentialsRequest { by: Some(by) }))
        .await?
        .into_inner())
}

async fn get_user(
    store: &TestService,
    caller: &Caller,
    user_id: &str,
) -> Result<User, tonic::Status> {
    let request = GetUserRequest { caller: Some(caller.clone()), user_id: user_id.to_owned() };
    Ok(store.client().get_user(call(request)).await?.into_inner().user.unwrap())
}

fn update(buyer: &Buyer) -> UpdateUserRequest {
    UpdateUserRequest {
        context: context(),
        caller: Some(buyer.caller.clone()),
        user_id: buyer.user.id.clone(),
        username: None,
        email: None,
        expected_versions: vec![],
    }
}

async fn updated(store: &TestService, request: UpdateUserRequest) -> Result<User, tonic::Status> {
    Ok(store.client().update_user(call(request)).await?.into_inner().user.unwrap())
}

fn change_password(buyer: &Buyer) -> ChangePasswordRequest {
    ChangePasswordRequest {
        context: context(),
        caller: Some(buyer.caller.clone()),
        user_id: buyer.user.id.clone(),
        password_hash: format!("{HASH}2"),
        ..Default::default()
    }
}

fn deactivate(buyer: &Buyer) -> DeactivateUserRequest {
    DeactivateUserRequest {
        context: context(),
        caller: Some(buyer.caller.clone()),
        user_id: buyer.user.id.clone(),
    }
}

async fn revoke(store: &TestService, buyer: &Buyer) -> Result<(), tonic::Status> {
    let request = RevokeTokensRequest { context: context(), caller: Some(buyer.caller.clone()) };
    store.client().revoke_tokens(call(request)).await.map(|_| ())
}

on_both!(
    async fn get_user_returns_the_registered_user(store: &TestService) {
        let buyer = store.register("Ada.L-1").await;
        assert_eq!(
            (buyer.user.sid.as_str(), buyer.user.username.as_str(), buyer.user.email.as_str()),
            ("AdaL1", "Ada.L-1", "Ada.L-1@example.org")
        );
        assert!(buyer.user.active);
        assert_eq!((buyer.user.version, buyer.user.id.len()), (1, 36));
        assert_eq!(buyer.user.created_at, buyer.user.updated_at);
        assert_eq!(get_user(store, &buyer.caller, &buyer.user.id).await.unwrap(), buyer.user);

        let [event] = store.events().await.try_into().unwrap();
        assert_eq!(event.event, "user_registered");
        assert_eq!(
            (event.actor.clone(), event.subject),
            (format!("user:{}", buyer.user.id), format!("user:{}", buyer.user.id))
        );
        assert_eq!((event.service.as_str(), event.request_id.as_str()), ("db", "r-1"));
        assert_eq!(event.trace_id, "0af7651916cd43dd8448eb211c80319c");
        assert!(!event.instance.is_empty());
    }
);

on_both!(
    async fn taken_names_are_reported_case_insensitively(store: &TestService) {
        store.register("ada").await;
        let again = CreateUserRequest {
            username: "other".into(),
            email: "other@example.org".into(),
            ..new_user("ADA")
        };
        assert_eq!(
            error_of(store.client().create_user(call(again)).await),
            error(Code::AlreadyExists, ErrorReason::SidTaken)
        );
        let again = CreateUserRequest {
            sid: "other".into(),
            email: "other@example.org".into(),
            ..new_user("ADA")
        };
        assert_eq!(
            error_of(store.client().create_user(call(again)).await),
            error(Code::AlreadyExists, ErrorReason::UsernameTaken)
        );
        let again =
            CreateUserRequest { sid: "other".into(), username: "other".into(), ..new_user("ADA") };
        let again = CreateUserRequest { email: "ADA@EXAMPLE.ORG".into(), ..again };
        assert_eq!(
            error_of(store.client().create_user(call(again)).await),
            error(Code::AlreadyExists, ErrorReason::EmailTaken)
        );
        // If several are taken, the first one is reported.
        assert_eq!(
            error_of(store.client().create_user(call(new_user("ADA"))).await),
            error(Code::AlreadyExists, ErrorReason::SidTaken)
        );
        let again = CreateUserRequest { sid: "other".into(), ..new_user("ADA") };
        assert_eq!(
            error_of(store.client().create_user(call(again)).await),
            error(Code::AlreadyExists, ErrorReason::UsernameTaken)
        );
        assert_eq!(store.event_names().await, ["user_registered"]);
        let umlaut =
            CreateUserRequest { email: "JÜRGEN@example.org".into(), ..new_user("jurgen") };
        store.client().create_user(call(umlaut)).await.unwrap();
        let again =
            CreateUserRequest { email: "jürgen@example.org".into(), ..new_user("juergen") };
        assert_eq!(
            error_of(store.client().create_user(call(again)).await),
            error(Code::AlreadyExists, ErrorReason::EmailTaken)
        );
    }
);

on_both!(
    async fn every_invalid_field_is_named(store: &TestService) {
        let context = Some(RequestContext { request_id: "a b".into(), trace_id: "XYZ".into() });
        let request = CreateUserRequest {
            context,
            sid: "".into(),
            username: "a b".into(),
            email: "x".repeat(256),
            password_hash: "hunter22".into(),
            client_network: "here".into(),
        };
        let expected = [
            "context.request_id",
            "context.trace_id",
            "sid",
            "username",
            "email",
            "password_hash",
            "client_network",
        ];
        assert_eq!(invalid_fields(store.client().create_user(call(request)).await), expected);
        assert_eq!(store.event_names().await, [] as [&str; 0]);
    }
);

on_both!(
    async fn length_limits_are_inclusive(store: &TestService) {
        let longest = CreateUserRequest {
            sid: "A".repeat(15),
            username: "u".repeat(50),
            email: format!("{}@example.org", "é".repeat(243)),
            ..new_user("any")
        };
        let user = store
            .client()
            .create_user(call(longest.clone()))
            .await
            .unwrap()
            .into_inner()
            .user
            .unwrap();
        assert_eq!(
            (user.sid, user.username, user.email),
            (longest.sid, longest.username, longest.email)
        );
        let over = CreateUserRequest {
            sid: "A".repeat(16),
            username: "u".repeat(51),
            email: "e".repeat(256),
            ..new_user("any")
        };
        assert_eq!(
            invalid_fields(store.client().create_user(call(over)).await),
            ["sid", "username", "email"]
        );
    }
);

on_both!(
    async fn credentials_are_found_by_username_and_caller(store: &TestService) {
        let buyer = store.register("Ada").await;
        let by_name = credentials(store, By::Username("aDA".into())).await.unwrap();
        assert_eq!(
            (by_name.user_id.as_str(), by_name.password_hash.as_str(), by_name.token_version),
            (buyer.user.id.as_str(), HASH, 1)
        );
        assert_eq!(credentials(store, By::Caller(buyer.caller.clone())).await.unwrap(), by_name);

        for unknown in ["unknown_user", "", "a\0b", "' OR 1=1 --"] {
            assert_eq!(
                error_of(credentials(store, By::Username(unknown.into())).await),
                error(Code::NotFound, ErrorReason::UserNotFound)
            );
        }
        let old = buyer.with_token_version(0).caller;
        assert_eq!(
            error_of(credentials(store, By::Caller(old)).await),
            error(Code::Unauthenticated, ErrorReason::TokenRevoked)
        );
        assert_eq!(
            invalid_fields(
                store.client().get_credentials(call(GetCredentialsRequest { by: None })).await
            ),
            ["by"]
        );
    }
);

on_both!(
    async fn log_in_is_refused_after_a_password_change(store: &TestService) {
        let buyer = store.register("ada").await;
        let log_in = |buyer: &Buyer| RecordLogInRequest {
            context: context(),
            caller: Some(buyer.caller.clone()),
            ..Default::default()
        };
        store.client().record_log_in(call(log_in(&buyer))).await.unwrap();
        store.client().change_password(call(change_password(&buyer))).await.unwrap();
        assert_eq!(
            error_of(store.client().record_log_in(call(log_in(&buyer))).await),
            error(Code::Unauthenticated, ErrorReason::TokenRevoked)
        );
        store.client().record_log_in(call(log_in(&buyer.with_token_version(2)))).await.unwrap();
        assert_eq!(
            store.event_names().await,
            ["user_registered", "user_logged_in", "user_password_changed", "user_logged_in"]
        );
    }
);

on_both!(
    async fn revoked_token_is_refused_everywhere(store: &TestService) {
        let buyer = store.register("ada").await;
        let order = store.buy(&buyer, HOODIE, 1).await;
        revoke(store, &buyer).await.unwrap();
        let before = store.event_names().await;

        let revoked = error(Code::Unauthenticated, ErrorReason::TokenRevoked);
        let (caller, user_id, order_id) =
            (Some(buyer.caller.clone()), buyer.user.id.clone(), order.id.clone());
        let mut client = store.client();
        assert_eq!(error_of(revoke(store, &buyer).await), revoked);
        assert_eq!(error_of(credentials(store, By::Caller(buyer.caller.clone())).await), revoked);
        assert_eq!(
            error_of(
                client
                    .record_log_in(call(RecordLogInRequest {
                        context: context(),
                        caller: caller.clone(),
                        ..Default::default()
                    }))
                    .await
            ),
            revoked
        );
        assert_eq!(error_of(get_user(store, &buyer.caller, &user_id).await), revoked);
        assert_eq!(
            error_of(
                updated(
                    store,
                    UpdateUserRequest { username: Some("eve".into()), ..update(&buyer) }
                )
                .await
            ),
            revoked
        );
        assert_eq!(error_of(client.change_password(call(change_password(&buyer))).await), revoked);
        assert_eq!(error_of(client.deactivate_user(call(deactivate(&buyer))).await), revoked);
        let list = ListOrdersRequest {
            caller: caller.clone(),
            page_size: 10,
            page_token: String::new(),
            status: 0,
        };
        assert_eq!(error_of(client.list_orders(call(list)).await), revoked);
        assert_eq!(
            error_of(
                client
                    .get_order(call(GetOrderRequest { caller, order_id: order_id.clone() }))
                    .await
            ),
            revoked
        );
        assert_eq!(error_of(store.cancel(&buyer, &order_id).await), revoked);
        let outcome = store.place(vec![buyer.order(HOODIE, 1)]).await.unwrap();
        assert_eq!(refusal_reason(&outcome[0]), Some(ErrorReason::TokenRevoked));
        // The revoked token is reported first, also for resources of other users.
        let other = store.register("bob").await;
        assert_eq!(error_of(get_user(store, &buyer.caller, &other.user.id).await), revoked);

        let mut after = before;
        after.push("user_registered".into());
        assert_eq!(store.event_names().await, after);
        assert_eq!(
            get_user(store, &buyer.with_token_version(2).caller, &user_id).await.unwrap(),
            buyer.user
        );
    }
);

on_both!(
    async fn other_users_are_not_found(store: &TestService) {
        let (ada, bob) = (store.register("ada").await, store.register("bob").await);
        let unknown = "01890000-0000-7000-8000-000000000000".to_owned();
        let missing = error(Code::NotFound, ErrorReason::UserNotFound);
        for id in [bob.user.id.clone(), unknown] {
            assert_eq!(error_of(get_user(store, &ada.caller, &id).await), missing);
            let change = UpdateUserRequest {
                user_id: id.clone(),
                username: Some("eve".into()),
                ..update(&ada)
            };
            assert_eq!(error_of(updated(store, change).await), missing);
            let change = ChangePasswordRequest { user_id: id.clone(), ..change_password(&ada) };
            assert_eq!(error_of(store.client().change_password(call(change)).await), missing);
            let change = DeactivateUserRequest { user_id: id, ..deactivate(&ada) };
            assert_eq!(error_of(store.client().deactivate_user(call(change)).await), missing);
        }
        assert_eq!(get_user(store, &bob.caller, &bob.user.id).await.unwrap(), bob.user);
        let unknown_caller =
            Caller { user_id: "01890000-0000-7000-8000-000000000000".into(), token_version: 1 };
        assert_eq!(
            error_of(get_user(store, &unknown_caller, &bob.user.id).await),
            error(Code::Unauthenticated, ErrorReason::TokenRevoked)
        );
    }
);

on_both!(
    async fn update_changes_only_set_fields(store: &TestService) {
        let buyer = store.register("ada").await;
        let user = updated(
            store,
            UpdateUserRequest { email: Some("new@example.org".into()), ..update(&buyer) },
        )
        .await
        .unwrap();
        assert_eq!(
            (user.username.as_str(), user.email.as_str(), user.version),
            ("ada", "new@example.org", 2)
        );
        assert_eq!((&user.sid, &user.created_at), (&buyer.user.sid, &buyer.user.created_at));
        let same = UpdateUserRequest {
            username: Some("ada".into()),
            email: Some("new@example.org".into()),
            ..update(&buyer)
        };
        assert_eq!(updated(store, same).await.unwrap(), user);
        assert_eq!(updated(store, update(&buyer)).await.unwrap(), user);
        // A user may change the case of its own name.
        let both = UpdateUserRequest {
            username: Some("Ada".into()),
            email: Some("ada@example.org".into()),
            ..update(&buyer)
        };
        let user = updated(store, both).await.unwrap();
        assert_eq!((user.username.as_str(), user.version), ("Ada", 3));
        assert_eq!(get_user(store, &buyer.caller, &buyer.user.id).await.unwrap(), user);

        let changed: Vec<String> = store
            .events()
            .await
            .into_iter()
            .filter(|event| event.event == "user_updated")
            .map(|event| event.attributes["changed"].clone())
            .collect();
        assert_eq!(changed, ["email", "username,email"]);
    }
);

on_both!(
    async fn update_refuses_taken_names_and_stale_versions(store: &TestService) {
        let (ada, _) = (store.register("ada").await, store.register("bob").await);
        let taken = UpdateUserRequest { username: Some("BOB".into()), ..update(&ada) };
        assert_eq!(
            error_of(updated(store, taken).await),
            error(Code::AlreadyExists, ErrorReason::UsernameTaken)
        );
        let taken = UpdateUserRequest { email: Some("BOB@example.org".into()), ..update(&ada) };
        assert_eq!(
            error_of(updated(store, taken).await),
            error(Code::AlreadyExists, ErrorReason::EmailTaken)
        );

        let old = UpdateUserRequest {
            username: Some("eve".into()),
            expected_versions: vec![2, 3],
            ..update(&ada)
        };
        assert_eq!(
            error_of(updated(store, old).await),
            error(Code::Aborted, ErrorReason::VersionMismatch)
        );
        let current = UpdateUserRequest {
            username: Some("eve".into()),
            expected_versions: vec![7, 1],
            ..update(&ada)
        };
        assert_eq!(updated(store, current).await.unwrap().version, 2);
        let faulty = UpdateUserRequest {
            username: Some("".into()),
            email: Some("\n".into()),
            user_id: "x".into(),
            ..update(&ada)
        };
        assert_eq!(invalid_fields(updated(store, faulty).await), ["user_id", "username", "email"]);
        assert_eq!(
            store.event_names().await,
            ["user_registered", "user_registered", "user_updated"]
        );
    }
);

on_both!(
    async fn password_change_revokes_tokens(store: &TestService) {
        let buyer = store.register("ada").await;
        store.client().change_password(call(change_password(&buyer))).await.unwrap();
        let again = store.client().change_password(call(change_password(&buyer))).await;
        assert_eq!(error_of(again), error(Code::Unauthenticated, ErrorReason::TokenRevoked));
        let now = credentials(store, By::Username("ada".into())).await.unwrap();
        assert_eq!((now.password_hash, now.token_version), (format!("{HASH}2"), 2));
        assert_eq!(
            get_user(store, &buyer.with_token_version(2).caller, &buyer.user.id).await.unwrap(),
            buyer.user
        );
        let plain = ChangePasswordRequest {
            password_hash: "hunter22".into(),
            ..change_password(&buyer.with_token_version(2))
        };
        assert_eq!(
            invalid_fields(store.client().change_password(call(plain)).await),
            ["password_hash"]
        );
    }
);

on_both!(
    async fn deactivated_user_keeps_its_names(store: &TestService) {
        let buyer = store.register("ada").await;
        store.client().deactivate_user(call(deactivate(&buyer))).await.unwrap();
        assert_eq!(
            error_of(credentials(store, By::Username("ada".into())).await),
            error(Code::NotFound, ErrorReason::UserNotFound)
        );
        for version in [1, 2] {
            let revoked = buyer.with_token_version(version);
            let revoked = get_user(store, &revoked.caller, &buyer.user.id).await;
            assert_eq!(error_of(revoked), error(Code::Unauthenticated, ErrorReason::TokenRevoked));
        }
        assert_eq!(
            error_of(store.client().create_user(call(new_user("ada"))).await),
            error(Code::AlreadyExists, ErrorReason::SidTaken)
        );
        assert_eq!(store.event_names().await, ["user_registered", "user_deactivated"]);
    }
);

on_both!(
    async fn events_contain_no_password_hash(store: &TestService) {
        let buyer = store.register("ada").await;
        store.client().change_password(call(change_password(&buyer))).await.unwrap();
        for event in store.events().await {
            assert!(!format!("{event:?}").contains("$scrypt$"), "{event:?}");
        }
    }
);

on_both!(
    async fn concurrent_registrations_of_one_name_conflict(store: &TestService) {
        for round in 0..5 {
            let register = |n: usize| {
                let mut client = store.client();
                let request = CreateUserRequest {
                    sid: format!("S{round}x{n}"),
                    email: format!("e{round}x{n}@example.org"),
                    ..new_user(&format!("name{round}"))
                };
                tokio::spawn(async move { client.create_user(call(request)).await })
            };
            let racers: Vec<_> = (0..8).map(register).collect();
            let mut winners = 0;
            for racer in racers {
                match racer.await.unwrap() {
                    Ok(_) => winners += 1,
                    refused => assert_eq!(
                        error_of(refused),
                        error(Code::AlreadyExists, ErrorReason::UsernameTaken)
                    ),
                }
            }
            assert_eq!(winners, 1);
        }
        assert_eq!(store.event_names().await.len(), 5);
    }
);
