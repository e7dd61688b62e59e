//! Registering, credentials, log-in, log-out, changes.

use merch_contract::grpc::assistant::v1::{get_credentials_request::By, *};
use tonic::Code;

use crate::harness::*;

async fn credentials(store: &TestDb, by: By) -> Result<GetCredentialsResponse, tonic::Status> {
    Ok(store
        .client()
        .get_credentials(call(GetCredentialsRequest { by: Some(by) }))
        .await?
        .into_inner())
}

async fn get_user(store: &TestDb, caller: &Caller, user_id: &str) -> Result<User, tonic::Status> {
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

async fn updated(store: &TestDb, request: UpdateUserRequest) -> Result<User, tonic::Status> {
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

async fn revoke(store: &TestDb, buyer: &Buyer) -> Result<(), tonic::Status> {
    let request = RevokeTokensRequest { context: context(), caller: Some(buyer.caller.clone()) };
    store.client().revoke_tokens(call(request)).await.map(|_| ())
}

on_both!(
    async fn a_registered_user_reads_itself_as_it_was_answered(store: &TestDb) {
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
    async fn what_is_taken_is_told_by_name_whatever_its_case_and_sid_first(store: &TestDb) {
        store.register("ada").await;
        let again = CreateUserRequest {
            username: "other".into(),
            email: "other@example.org".into(),
            ..new_user("ADA")
        };
        assert_eq!(
            told(store.client().create_user(call(again)).await),
            why(Code::AlreadyExists, ErrorReason::SidTaken)
        );
        let again = CreateUserRequest {
            sid: "other".into(),
            email: "other@example.org".into(),
            ..new_user("ADA")
        };
        assert_eq!(
            told(store.client().create_user(call(again)).await),
            why(Code::AlreadyExists, ErrorReason::UsernameTaken)
        );
        let again =
            CreateUserRequest { sid: "other".into(), username: "other".into(), ..new_user("ADA") };
        let again = CreateUserRequest { email: "ADA@EXAMPLE.ORG".into(), ..again };
        assert_eq!(
            told(store.client().create_user(call(again)).await),
            why(Code::AlreadyExists, ErrorReason::EmailTaken)
        );
        // Of several, the first.
        assert_eq!(
            told(store.client().create_user(call(new_user("ADA"))).await),
            why(Code::AlreadyExists, ErrorReason::SidTaken)
        );
        let again = CreateUserRequest { sid: "other".into(), ..new_user("ADA") };
        assert_eq!(
            told(store.client().create_user(call(again)).await),
            why(Code::AlreadyExists, ErrorReason::UsernameTaken)
        );
        assert_eq!(store.words().await, ["user_registered"]);
        // Beyond ASCII, too.
        let umlaut =
            CreateUserRequest { email: "JÜRGEN@example.org".into(), ..new_user("jurgen") };
        store.client().create_user(call(umlaut)).await.unwrap();
        let again =
            CreateUserRequest { email: "jürgen@example.org".into(), ..new_user("juergen") };
        assert_eq!(
            told(store.client().create_user(call(again)).await),
            why(Code::AlreadyExists, ErrorReason::EmailTaken)
        );
    }
);

on_both!(
    async fn every_fault_of_a_registration_is_named(store: &TestDb) {
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
        assert_eq!(fields(store.client().create_user(call(request)).await), expected);
        assert_eq!(store.words().await, [] as [&str; 0]);
    }
);

on_both!(
    async fn bounds_are_inclusive(store: &TestDb) {
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
            fields(store.client().create_user(call(over)).await),
            ["sid", "username", "email"]
        );
    }
);

on_both!(
    async fn credentials_are_found_by_name_and_by_token(store: &TestDb) {
        let buyer = store.register("Ada").await;
        let by_name = credentials(store, By::Username("aDA".into())).await.unwrap();
        assert_eq!(
            (by_name.user_id.as_str(), by_name.password_hash.as_str(), by_name.token_version),
            (buyer.user.id.as_str(), HASH, 1)
        );
        assert_eq!(credentials(store, By::Caller(buyer.caller.clone())).await.unwrap(), by_name);

        for nobody in ["nobody", "", "a\0b", "' OR 1=1 --"] {
            assert_eq!(
                told(credentials(store, By::Username(nobody.into())).await),
                why(Code::NotFound, ErrorReason::UserNotFound)
            );
        }
        let old = buyer.with_token_version(0).caller;
        assert_eq!(
            told(credentials(store, By::Caller(old)).await),
            why(Code::Unauthenticated, ErrorReason::TokenRevoked)
        );
        assert_eq!(
            fields(store.client().get_credentials(call(GetCredentialsRequest { by: None })).await),
            ["by"]
        );
    }
);

on_both!(
    async fn a_log_in_is_recorded_if_the_hash_is_still_the_one_that_was_checked(store: &TestDb) {
        let buyer = store.register("ada").await;
        let log_in = |buyer: &Buyer| RecordLogInRequest {
            context: context(),
            caller: Some(buyer.caller.clone()),
            ..Default::default()
        };
        store.client().record_log_in(call(log_in(&buyer))).await.unwrap();
        store.client().change_password(call(change_password(&buyer))).await.unwrap();
        assert_eq!(
            told(store.client().record_log_in(call(log_in(&buyer))).await),
            why(Code::Unauthenticated, ErrorReason::TokenRevoked)
        );
        store.client().record_log_in(call(log_in(&buyer.with_token_version(2)))).await.unwrap();
        assert_eq!(
            store.words().await,
            ["user_registered", "user_logged_in", "user_password_changed", "user_logged_in"]
        );
    }
);

on_both!(
    async fn a_void_token_opens_nothing(store: &TestDb) {
        let buyer = store.register("ada").await;
        let order = store.buy(&buyer, HOODIE, 1).await;
        revoke(store, &buyer).await.unwrap();
        let before = store.words().await;

        let void = why(Code::Unauthenticated, ErrorReason::TokenRevoked);
        let (caller, user_id, order_id) =
            (Some(buyer.caller.clone()), buyer.user.id.clone(), order.id.clone());
        let mut client = store.client();
        assert_eq!(told(revoke(store, &buyer).await), void);
        assert_eq!(told(credentials(store, By::Caller(buyer.caller.clone())).await), void);
        assert_eq!(
            told(
                client
                    .record_log_in(call(RecordLogInRequest {
                        context: context(),
                        caller: caller.clone(),
                        ..Default::default()
                    }))
                    .await
            ),
            void
        );
        assert_eq!(told(get_user(store, &buyer.caller, &user_id).await), void);
        assert_eq!(
            told(
                updated(
                    store,
                    UpdateUserRequest { username: Some("eve".into()), ..update(&buyer) }
                )
                .await
            ),
            void
        );
        assert_eq!(told(client.change_password(call(change_password(&buyer))).await), void);
        assert_eq!(told(client.deactivate_user(call(deactivate(&buyer))).await), void);
        let list = ListOrdersRequest {
            caller: caller.clone(),
            page_size: 10,
            page_token: String::new(),
            status: 0,
        };
        assert_eq!(told(client.list_orders(call(list)).await), void);
        assert_eq!(
            told(
                client
                    .get_order(call(GetOrderRequest { caller, order_id: order_id.clone() }))
                    .await
            ),
            void
        );
        assert_eq!(told(store.cancel(&buyer, &order_id).await), void);
        let outcome = store.place(vec![buyer.order(HOODIE, 1)]).await.unwrap();
        assert_eq!(refused(&outcome[0]), Some(ErrorReason::TokenRevoked));
        // Somebody else's things, too: that the token is void comes first.
        let other = store.register("bob").await;
        assert_eq!(told(get_user(store, &buyer.caller, &other.user.id).await), void);

        let mut after = before;
        after.push("user_registered".into());
        assert_eq!(store.words().await, after);
        assert_eq!(
            get_user(store, &buyer.with_token_version(2).caller, &user_id).await.unwrap(),
            buyer.user
        );
    }
);

on_both!(
    async fn other_users_are_not_found(store: &TestDb) {
        let (ada, bob) = (store.register("ada").await, store.register("bob").await);
        let nobody = "01890000-0000-7000-8000-000000000000".to_owned();
        let missing = why(Code::NotFound, ErrorReason::UserNotFound);
        for id in [bob.user.id.clone(), nobody] {
            assert_eq!(told(get_user(store, &ada.caller, &id).await), missing);
            let change = UpdateUserRequest {
                user_id: id.clone(),
                username: Some("eve".into()),
                ..update(&ada)
            };
            assert_eq!(told(updated(store, change).await), missing);
            let change = ChangePasswordRequest { user_id: id.clone(), ..change_password(&ada) };
            assert_eq!(told(store.client().change_password(call(change)).await), missing);
            let change = DeactivateUserRequest { user_id: id, ..deactivate(&ada) };
            assert_eq!(told(store.client().deactivate_user(call(change)).await), missing);
        }
        assert_eq!(get_user(store, &bob.caller, &bob.user.id).await.unwrap(), bob.user);
        // A caller that does not exist has no token.
        let ghost =
            Caller { user_id: "01890000-0000-7000-8000-000000000000".into(), token_version: 1 };
        assert_eq!(
            told(get_user(store, &ghost, &bob.user.id).await),
            why(Code::Unauthenticated, ErrorReason::TokenRevoked)
        );
    }
);

on_both!(
    async fn only_what_is_set_is_changed(store: &TestDb) {
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
        // Nothing differs: nothing happens.
        let same = UpdateUserRequest {
            username: Some("ada".into()),
            email: Some("new@example.org".into()),
            ..update(&buyer)
        };
        assert_eq!(updated(store, same).await.unwrap(), user);
        assert_eq!(updated(store, update(&buyer)).await.unwrap(), user);
        // One's own name in other letters is not taken.
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
    async fn an_update_is_refused_for_a_taken_name_and_for_a_version(store: &TestDb) {
        let (ada, _) = (store.register("ada").await, store.register("bob").await);
        let taken = UpdateUserRequest { username: Some("BOB".into()), ..update(&ada) };
        assert_eq!(
            told(updated(store, taken).await),
            why(Code::AlreadyExists, ErrorReason::UsernameTaken)
        );
        let taken = UpdateUserRequest { email: Some("BOB@example.org".into()), ..update(&ada) };
        assert_eq!(
            told(updated(store, taken).await),
            why(Code::AlreadyExists, ErrorReason::EmailTaken)
        );

        let old = UpdateUserRequest {
            username: Some("eve".into()),
            expected_versions: vec![2, 3],
            ..update(&ada)
        };
        assert_eq!(
            told(updated(store, old).await),
            why(Code::Aborted, ErrorReason::VersionMismatch)
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
        assert_eq!(fields(updated(store, faulty).await), ["user_id", "username", "email"]);
        assert_eq!(store.words().await, ["user_registered", "user_registered", "user_updated"]);
    }
);

on_both!(
    async fn a_new_password_makes_old_tokens_void(store: &TestDb) {
        let buyer = store.register("ada").await;
        store.client().change_password(call(change_password(&buyer))).await.unwrap();
        let again = store.client().change_password(call(change_password(&buyer))).await;
        assert_eq!(told(again), why(Code::Unauthenticated, ErrorReason::TokenRevoked));
        let now = credentials(store, By::Username("ada".into())).await.unwrap();
        assert_eq!((now.password_hash, now.token_version), (format!("{HASH}2"), 2));
        // Nothing that is shown has changed.
        assert_eq!(
            get_user(store, &buyer.with_token_version(2).caller, &buyer.user.id).await.unwrap(),
            buyer.user
        );
        let plain = ChangePasswordRequest {
            password_hash: "hunter22".into(),
            ..change_password(&buyer.with_token_version(2))
        };
        assert_eq!(fields(store.client().change_password(call(plain)).await), ["password_hash"]);
    }
);

on_both!(
    async fn a_deactivated_user_is_gone_but_its_names_stay_taken(store: &TestDb) {
        let buyer = store.register("ada").await;
        store.client().deactivate_user(call(deactivate(&buyer))).await.unwrap();
        assert_eq!(
            told(credentials(store, By::Username("ada".into())).await),
            why(Code::NotFound, ErrorReason::UserNotFound)
        );
        for version in [1, 2] {
            let void = buyer.with_token_version(version);
            let void = get_user(store, &void.caller, &buyer.user.id).await;
            assert_eq!(told(void), why(Code::Unauthenticated, ErrorReason::TokenRevoked));
        }
        assert_eq!(
            told(store.client().create_user(call(new_user("ada"))).await),
            why(Code::AlreadyExists, ErrorReason::SidTaken)
        );
        assert_eq!(store.words().await, ["user_registered", "user_deactivated"]);
    }
);

on_both!(
    async fn no_event_holds_a_hash(store: &TestDb) {
        let buyer = store.register("ada").await;
        store.client().change_password(call(change_password(&buyer))).await.unwrap();
        for event in store.events().await {
            assert!(!format!("{event:?}").contains("$scrypt$"), "{event:?}");
        }
    }
);

on_both!(
    async fn of_two_who_register_one_name_at_once_one_is_told_so(store: &TestDb) {
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
                        told(refused),
                        why(Code::AlreadyExists, ErrorReason::UsernameTaken)
                    ),
                }
            }
            assert_eq!(winners, 1);
        }
        assert_eq!(store.words().await.len(), 5);
    }
);
