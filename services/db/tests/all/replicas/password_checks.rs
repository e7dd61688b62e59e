use std::{num::NonZeroU32, time::Duration};

use begin_password_check_request::By;
use merch_db::{LogIns, Rate};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const HOME: &str = "192.0.2.1";
const ELSEWHERE: &str = "2001:db8:0:1::";

/// Each budget regains one check an hour.
fn budgets(per_network: u32, over_all: u32) -> LogIns {
    let rate = |burst| Rate { burst: NonZeroU32::new(burst).unwrap(), period: HOUR };
    LogIns { per_network: rate(per_network), over_all: rate(over_all), ..LogIns::default() }
}

async fn begin(
    client: &AssistantServiceClient<Channel>,
    name: &str,
    network: &str,
) -> Result<BeginPasswordCheckResponse, Status> {
    begin_by(client, By::Username(name.to_owned()), network).await
}

async fn begin_by(
    client: &AssistantServiceClient<Channel>,
    by: By,
    network: &str,
) -> Result<BeginPasswordCheckResponse, Status> {
    let client_network = network.to_owned();
    let request = BeginPasswordCheckRequest { by: Some(by), client_network };
    Ok(client.clone().begin_password_check(call(request)).await?.into_inner())
}

async fn exhaust(client: &AssistantServiceClient<Channel>, name: &str, network: &str) -> usize {
    let mut reserved = 0;
    loop {
        match begin(client, name, network).await {
            Ok(_) => reserved += 1,
            Err(status) => {
                assert_eq!(error_of(Err::<(), _>(status)), too_many());
                return reserved;
            }
        }
    }
}

fn too_many() -> (Code, String) {
    error(Code::ResourceExhausted, ErrorReason::TooManyLogIns)
}

async fn log_in(replica: &Replica, buyer: &Buyer, network: &str) {
    let check = begin(&replica.client, &buyer.user.username, network).await.unwrap();
    let request = RecordLogInRequest {
        context: context(),
        caller: Some(buyer.caller.clone()),
        client_network: network.to_owned(),
        reservation: check.reservation,
        renewed_hash: String::new(),
    };
    replica.client.clone().record_log_in(call(request)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_log_in_budgets() {
    let test_database = TestDatabase::postgres().await;
    let replicas: [Replica; 3] =
        replicas(&test_database, |_, config| config.log_ins = budgets(5, 1000)).await;
    replicas[0].register("Ada").await;
    for (spellings, exists) in
        [(["ada", "ADA", "aDa"], true), (["unregistered", "UNREGISTERED", "Unregistered"], false)]
    {
        let attempts: Vec<_> = (0..30)
            .map(|n| {
                let client = replicas[n % 3].client.clone();
                tokio::spawn(async move { begin(&client, spellings[n / 3 % 3], ELSEWHERE).await })
            })
            .collect();
        let mut reserved = 0;
        for attempt in attempts {
            match attempt.await.unwrap() {
                Ok(check) => {
                    assert_eq!(
                        (check.credentials.is_some(), check.reservation.len()),
                        (exists, 64)
                    );
                    reserved += 1;
                }
                Err(status) => {
                    let wait = status.get_details_retry_info().and_then(|info| info.retry_delay);
                    let wait = wait.expect("the error has a retry delay");
                    assert!(wait > HOUR - Duration::from_secs(100) && wait <= HOUR, "{wait:?}");
                    assert_eq!(error_of(Err::<(), _>(status)), too_many());
                }
            }
        }
        assert_eq!(reserved, 5);
    }
    begin(&replicas[1].client, "eve", ELSEWHERE).await.unwrap();
    begin(&replicas[2].client, "ada", HOME).await.unwrap();
    let database = connect(&test_database.url).await;
    let stored = rows(&database, "SELECT encode(name_digest, 'escape') FROM log_in_attempts").await;
    let stored: Vec<String> = stored.iter().map(|row| row.try_get_by(0).unwrap()).collect();
    assert_eq!(stored.len(), 7, "three budgets over all networks, four per network");
    assert!(!stored.iter().any(|name| name.contains("unregistered")), "{stored:?}");
    database.close().await.unwrap();
}

on_both!(
    async fn known_network_logs_in_to_an_exhausted_account(store: &TestService) {
        let mut config = config(&store.test_database);
        config.log_ins = budgets(3, 7);
        let replica = Replica::start(config).await;
        let owner = replica.register("owner").await;
        log_in(&replica, &owner, HOME).await;
        for network in ["198.51.100.1", "198.51.100.2"] {
            assert_eq!(exhaust(&replica.client, "owner", network).await, 3);
        }
        assert_eq!(exhaust(&replica.client, "owner", "198.51.100.3").await, 1, "seven over all");
        assert_eq!(exhaust(&replica.client, "owner", ELSEWHERE).await, 0);
        // A right password is refunded.
        for _ in 0..15 {
            log_in(&replica, &owner, HOME).await;
        }
        // A wrong one is not, in a known network either.
        assert_eq!(exhaust(&replica.client, "owner", HOME).await, 3);
        replica.stop().await;
    }
);

on_both!(
    async fn unknown_name_has_the_same_budgets(store: &TestService) {
        let mut config = config(&store.test_database);
        config.log_ins = budgets(3, 7);
        let replica = Replica::start(config).await;
        replica.register("ada").await;
        let mut found = Vec::new();
        for name in ["ada", "unregistered"] {
            let mut reserved = Vec::new();
            for network in ["198.51.100.1", "198.51.100.2", "198.51.100.3", ELSEWHERE] {
                reserved.push(exhaust(&replica.client, name, network).await);
            }
            found.push(reserved);
        }
        assert_eq!(found, [[3, 3, 1, 0], [3, 3, 1, 0]]);
        replica.stop().await;
    }
);

on_both!(
    async fn known_network_expires_and_is_reset_by_new_password(store: &TestService) {
        let mut config = config(&store.test_database);
        config.log_ins = budgets(100, 1);
        config.housekeeping_interval = Duration::from_millis(50);
        let replica = Replica::start(config).await;
        let buyer = replica.register("ada").await;
        for network in [HOME, ELSEWHERE] {
            log_in(&replica, &buyer, network).await;
        }
        assert_eq!(store.count("known_networks").await, 2);
        // A known network draws only from its own budget: one key.
        let check = begin(&replica.client, "ada", HOME).await.unwrap();
        assert_eq!(check.reservation.len(), 32);

        let request = ChangePasswordRequest {
            context: context(),
            caller: Some(buyer.caller.clone()),
            user_id: buyer.user.id.clone(),
            password_hash: format!("{HASH}2"),
            client_network: HOME.to_owned(),
            reservation: check.reservation,
        };
        replica.client.clone().change_password(call(request)).await.unwrap();
        assert_eq!(store.count("known_networks").await, 1, "where it was changed");
        let elsewhere = begin(&replica.client, "ada", ELSEWHERE).await.unwrap();
        assert_eq!(elsewhere.reservation.len(), 64);

        store.sql("UPDATE known_networks SET seen_at = seen_at - 2592000000000").await;
        eventually("the old one is gone", || async { store.count("known_networks").await == 0 })
            .await;
        replica.stop().await;
    }
);

on_both!(
    async fn renaming_keeps_the_budgets(store: &TestService) {
        let mut config = config(&store.test_database);
        config.log_ins = budgets(2, 100);
        let replica = Replica::start(config).await;
        let buyer = replica.register("ada").await;
        let guess = || begin_by(&replica.client, By::Caller(buyer.caller.clone()), ELSEWHERE);
        guess().await.unwrap();
        let request = UpdateUserRequest {
            context: context(),
            caller: Some(buyer.caller.clone()),
            user_id: buyer.user.id.clone(),
            username: Some("countess".to_owned()),
            email: None,
            expected_versions: Vec::new(),
        };
        replica.client.clone().update_user(call(request)).await.unwrap();
        // Password changes and log-ins share a budget, by either name.
        assert_eq!(exhaust(&replica.client, "countess", ELSEWHERE).await, 1);
        assert_eq!(error_of(guess().await), too_many());
        let revoked = buyer.with_token_version(9);
        let outcome = begin_by(&replica.client, By::Caller(revoked.caller), HOME).await;
        assert_eq!(error_of(outcome), error(Code::Unauthenticated, ErrorReason::TokenRevoked));
        replica.stop().await;
    }
);

on_both!(
    async fn cancelled_check_is_refunded(store: &TestService) {
        let mut config = config(&store.test_database);
        config.log_ins = budgets(1, 1);
        let replica = Replica::start(config).await;
        for _ in 0..3 {
            let check = begin(&replica.client, "unregistered", HOME).await.unwrap();
            assert_eq!(error_of(begin(&replica.client, "unregistered", HOME).await), too_many());
            let request = CancelPasswordCheckRequest { reservation: check.reservation };
            replica.client.clone().cancel_password_check(call(request)).await.unwrap();
            assert_eq!(
                store.count("log_in_attempts").await,
                0,
                "no row is left that could look exhausted"
            );
        }
        replica.stop().await;
    }
);

on_both!(
    async fn refused_check_writes_nothing(store: &TestService) {
        let mut config = config(&store.test_database);
        config.log_ins = budgets(2, 3);
        let replica = Replica::start(config).await;
        for network in ["198.51.100.1", "198.51.100.2"] {
            exhaust(&replica.client, "unregistered", network).await;
        }
        let rows = store.count("log_in_attempts").await;
        for n in 0..50 {
            let network = format!("203.0.113.{n}");
            assert_eq!(
                error_of(begin(&replica.client, "unregistered", &network).await),
                too_many()
            );
        }
        assert_eq!((rows, store.count("log_in_attempts").await), (3, 3));
        replica.stop().await;
    }
);

on_both!(
    async fn known_networks_are_limited_per_account(store: &TestService) {
        let mut config = config(&store.test_database);
        config.log_ins = budgets(100, 100);
        let replica = Replica::start(config).await;
        let buyer = replica.register("ada").await;
        for n in 0..25 {
            log_in(&replica, &buyer, &format!("198.51.100.{n}")).await;
        }
        assert_eq!(store.count("known_networks").await, 20);
        let first = begin(&replica.client, "ada", "198.51.100.0").await.unwrap();
        let last = begin(&replica.client, "ada", "198.51.100.24").await.unwrap();
        assert_eq!((first.reservation.len(), last.reservation.len()), (64, 32));
        replica.stop().await;
    }
);

on_both!(
    async fn check_returns_the_greatest_hash_cost(store: &TestService) {
        let replica = Replica::start(config(&store.test_database)).await;
        let cost = async || begin(&replica.client, "unregistered", HOME).await.unwrap().hash_cost;
        assert_eq!(cost().await, 0);
        let (cheap, dear) = (replica.register("cheap").await, replica.register("dear").await);
        assert_eq!(cost().await, 4, "the cost of the test hash");
        let renew = async |buyer: &Buyer, hash: &str| {
            let request = RecordLogInRequest {
                context: context(),
                caller: Some(buyer.caller.clone()),
                client_network: String::new(),
                reservation: Vec::new(),
                renewed_hash: hash.to_owned(),
            };
            replica.client.clone().record_log_in(call(request)).await
        };
        renew(&dear, &HASH.replace("ln=4", "ln=18")).await.unwrap();
        assert_eq!(cost().await, 18);
        // The token version stays, so the token is valid.
        renew(&dear, &HASH.replace("ln=4", "ln=17")).await.unwrap();
        assert_eq!(cost().await, 17);
        let stale = dear.with_token_version(2);
        let refused = renew(&stale, &HASH.replace("ln=4", "ln=19")).await;
        assert_eq!(error_of(refused), error(Code::Unauthenticated, ErrorReason::TokenRevoked));
        renew(&cheap, HASH).await.unwrap();
        let request = DeactivateUserRequest {
            context: context(),
            caller: Some(dear.caller.clone()),
            user_id: dear.user.id.clone(),
        };
        replica.client.clone().deactivate_user(call(request)).await.unwrap();
        assert_eq!(cost().await, 4, "a deactivated user does not count");
        replica.stop().await;
    }
);

on_both!(
    async fn availability_check_reports_taken_names(store: &TestService) {
        let replica = Replica::start(config(&store.test_database)).await;
        replica.register("ada").await;
        let check = async |sid: &str, username: &str, email: &str| {
            let (sid, username, email) = (sid.to_owned(), username.to_owned(), email.to_owned());
            let request = CheckAvailabilityRequest { sid, username, email };
            error_of(replica.client.clone().check_availability(call(request)).await)
        };
        let taken = |reason| error(Code::AlreadyExists, reason);
        assert_eq!(check("ADA", "ADA", "ADA@EXAMPLE.ORG").await, taken(ErrorReason::SidTaken));
        assert_eq!(check("x1", "aDa", "ada@example.org").await, taken(ErrorReason::UsernameTaken));
        assert_eq!(check("x1", "eve", "Ada@Example.org").await, taken(ErrorReason::EmailTaken));
        let request = CheckAvailabilityRequest {
            sid: "x1".to_owned(),
            username: "eve".to_owned(),
            email: "eve@example.org".to_owned(),
        };
        replica.client.clone().check_availability(call(request)).await.unwrap();
        replica.stop().await;
    }
);

/// Logs in as an api service of an earlier release does.
async fn attempt(client: &mut AssistantServiceClient<Channel>, name: &str) -> Result<(), Status> {
    let by = Some(get_credentials_request::By::Username(name.to_owned()));
    client.get_credentials(call(GetCredentialsRequest { by })).await.map(|_| ())
}

on_both!(
    async fn budget_refills_over_time(store: &TestService) {
        let mut config = config(&store.test_database);
        config.log_ins.per_network =
            Rate { burst: NonZeroU32::new(2).unwrap(), period: Duration::from_millis(300) };
        let replica = Replica::start(config).await;
        let mut client = replica.client.clone();
        let begun = std::time::Instant::now();
        for _ in 0..4 {
            while let Err(status) = attempt(&mut client, "unregistered").await {
                if status.code() == Code::NotFound {
                    break;
                }
                let wait =
                    status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap();
                assert!(wait <= Duration::from_millis(300), "{wait:?}");
                tokio::time::sleep(wait).await;
            }
        }
        assert!(
            begun.elapsed() >= Duration::from_millis(595),
            "two at once, and two more one by one: {:?}",
            begun.elapsed()
        );
        replica.stop().await;
    }
);

on_both!(
    async fn implausible_budget_time_is_ignored(store: &TestService) {
        let mut config = config(&store.test_database);
        config.log_ins.per_network =
            Rate { burst: NonZeroU32::new(1).unwrap(), period: Duration::from_secs(60) };
        let replica = Replica::start(config).await;
        let mut client = replica.client.clone();
        let mut tried = async || attempt(&mut client, "unregistered").await.unwrap_err().code();
        assert_eq!(tried().await, Code::NotFound);
        assert_eq!(tried().await, Code::ResourceExhausted);
        // As after the rate was lower.
        store.sql("UPDATE log_in_attempts SET whole_at = whole_at + 3600000000").await;
        assert_eq!(tried().await, Code::NotFound);
        assert_eq!(tried().await, Code::ResourceExhausted, "the budget is full");
        replica.stop().await;
    }
);

on_both!(
    async fn clock_that_is_set_back_exhausts_no_budget(store: &TestService) {
        let mut config = config(&store.test_database);
        config.log_ins = budgets(3, 100);
        let replica = Replica::start(config.clone()).await;
        begin(&replica.client, "unregistered", HOME).await.unwrap();
        // As after the clock is set back: by less than the budget holds, and by much more.
        for hours in [2, 24] {
            let micros = hours * 3_600_000_000_i64;
            let set_back = format!(
                "UPDATE log_in_attempts \
                 SET whole_at = whole_at + {micros}, drawn_at = drawn_at + {micros}"
            );
            store.sql(&set_back).await;
            begin(&replica.client, "unregistered", HOME).await.unwrap();
        }
        assert_eq!(error_of(begin(&replica.client, "unregistered", HOME).await), too_many());
        replica.stop().await;

        // An exhausted budget recovers from now on.
        store
            .sql(
                "UPDATE log_in_attempts \
                 SET whole_at = whole_at + 86400000000, drawn_at = drawn_at + 86400000000",
            )
            .await;
        config.housekeeping_interval = Duration::from_millis(50);
        let replica = Replica::start(config).await;
        let now = match store.backend() {
            sea_orm::DbBackend::Sqlite => "unixepoch('subsec')",
            _ => "extract(epoch FROM clock_timestamp())",
        };
        eventually("no budget is drawn from in the future", || async {
            let ahead = format!("log_in_attempts WHERE drawn_at > {now} * 1000000");
            store.count(&ahead).await == 0
        })
        .await;
        let ahead = format!("log_in_attempts WHERE whole_at > ({now} + 3 * 3600) * 1000000");
        assert_eq!(store.count(&ahead).await, 0, "a budget owes no more than three checks");
        assert_eq!(error_of(begin(&replica.client, "unregistered", HOME).await), too_many());
        replica.stop().await;
    }
);

on_both!(
    async fn full_budgets_are_deleted(store: &TestService) {
        let (digests, now) = match store.backend() {
            sea_orm::DbBackend::Sqlite => {
                ("SELECT randomblob(32), value FROM generate", "unixepoch('subsec')")
            }
            _ => (
                "SELECT sha256(value::text::bytea), value FROM generate",
                "extract(epoch FROM now())",
            ),
        };
        store
            .sql(&format!(
                "WITH RECURSIVE generate (value) AS (SELECT 1 UNION ALL SELECT value + 1 \
                 FROM generate WHERE value < 2500) \
                 INSERT INTO log_in_attempts (name_digest, whole_at) {digests}"
            ))
            .await;
        let of_today = match store.backend() {
            sea_orm::DbBackend::Sqlite => {
                format!(
                    "INSERT INTO log_in_attempts (name_digest, whole_at) \
                     VALUES (zeroblob(32), CAST(({now} + 3600) * 1000000 AS INTEGER))"
                )
            }
            _ => format!(
                "INSERT INTO log_in_attempts (name_digest, whole_at) \
                 VALUES (decode(repeat('00', 32), 'hex'), (({now} + 3600) * 1000000)::bigint)"
            ),
        };
        store.sql(&of_today).await;
        let mut config = config(&store.test_database);
        config.housekeeping_interval = Duration::from_millis(50);
        let replica = Replica::start(config).await;
        eventually("the old ones are gone", || async { store.count("log_in_attempts").await == 1 })
            .await;
        replica.stop().await;
        assert_eq!(store.count("log_in_attempts").await, 1, "a partly used budget stays");
    }
);
