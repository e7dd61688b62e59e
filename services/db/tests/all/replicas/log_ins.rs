//! The rate of log-ins holds for a name, whichever replica is asked.

use std::num::NonZeroU32;
use std::time::Duration;

use get_credentials_request::By;
use merch_db::Rate;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;

async fn attempt(client: &mut AssistantServiceClient<Channel>, name: &str) -> Result<(), Status> {
    let request = GetCredentialsRequest { by: Some(By::Username(name.to_owned())) };
    client.get_credentials(call(request)).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_tried_so_often_at_three_replicas_together_whether_or_not_anybody_has_it() {
    let place = Place::postgres().await;
    let replicas: [Replica; 3] = replicas(&place, |_, config| {
        config.log_ins = Rate { burst: NonZeroU32::new(5).unwrap(), period: Duration::from_secs(600) };
    })
    .await;
    replicas[0].register("Ada").await;
    for (spellings, allowed) in [(["ada", "ADA", "aDa"], None), (["nobody", "NOBODY", "Nobody"], Some(Code::NotFound))] {
        let attempts: Vec<_> = (0..30)
            .map(|n| {
                let mut client = replicas[n % 3].client.clone();
                tokio::spawn(async move { attempt(&mut client, spellings[n / 3 % 3]).await })
            })
            .collect();
        let mut tried = 0;
        for attempt in attempts {
            let status = match attempt.await.unwrap() {
                Ok(()) => {
                    assert_eq!(allowed, None);
                    tried += 1;
                    continue;
                }
                Err(status) if Some(status.code()) == allowed => {
                    tried += 1;
                    continue;
                }
                Err(status) => status,
            };
            let wait = status.get_details_retry_info().and_then(|info| info.retry_delay).expect("it says when to try again");
            assert!(wait > Duration::from_secs(500) && wait <= Duration::from_secs(600), "{wait:?}");
            assert_eq!(told(Err::<(), _>(status)), why(Code::ResourceExhausted, ErrorReason::TooManyLogIns));
        }
        assert_eq!(tried, 5);
    }
    // Another name is another matter, and so is who has a token.
    let eve = replicas[1].register("eve").await;
    attempt(&mut replicas[2].client.clone(), "eve").await.unwrap();
    for _ in 0..10 {
        let request = GetCredentialsRequest { by: Some(By::Caller(eve.caller.clone())) };
        replicas[2].client.clone().get_credentials(call(request)).await.unwrap();
    }
    // What was typed is not stored.
    let database = connect(&place.url).await;
    let stored = rows(&database, "SELECT encode(name_digest, 'escape') FROM log_in_attempts").await;
    let stored: Vec<String> = stored.iter().map(|row| row.try_get_by(0).unwrap()).collect();
    assert_eq!(stored.len(), 3);
    assert!(!stored.iter().any(|name| name.contains("nobody")), "{stored:?}");
    database.close().await.unwrap();
}

on_both!(
    async fn an_attempt_comes_back_after_its_time(store: &TestDb) {
        let mut config = config(&store.place);
        config.log_ins = Rate { burst: NonZeroU32::new(2).unwrap(), period: Duration::from_millis(300) };
        let replica = Replica::start(config).await;
        let mut client = replica.client.clone();
        let begun = std::time::Instant::now();
        for _ in 0..4 {
            while let Err(status) = attempt(&mut client, "nobody").await {
                if status.code() == Code::NotFound {
                    break;
                }
                let wait = status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap();
                assert!(wait <= Duration::from_millis(300), "{wait:?}");
                tokio::time::sleep(wait).await;
            }
        }
        assert!(begun.elapsed() >= Duration::from_millis(595), "two at once, and two more one by one: {:?}", begun.elapsed());
        replica.stop().await;
    }
);

on_both!(
    async fn a_time_that_no_attempt_can_bring_about_is_not_believed(store: &TestDb) {
        let mut config = config(&store.place);
        config.log_ins = Rate { burst: NonZeroU32::new(1).unwrap(), period: Duration::from_secs(60) };
        let replica = Replica::start(config).await;
        let mut client = replica.client.clone();
        let mut tried = async || attempt(&mut client, "nobody").await.unwrap_err().code();
        assert_eq!(tried().await, Code::NotFound);
        assert_eq!(tried().await, Code::ResourceExhausted);
        // As if the clock had been set back by an hour since.
        store.sql("UPDATE log_in_attempts SET whole_at = whole_at + 3600000000").await;
        assert_eq!(tried().await, Code::NotFound);
        assert_eq!(tried().await, Code::ResourceExhausted, "it counts from now on");
        replica.stop().await;
    }
);

on_both!(
    async fn names_that_were_not_tried_for_long_are_forgotten(store: &TestDb) {
        let (digests, now) = match store.backend() {
            sea_orm::DbBackend::Sqlite => ("SELECT randomblob(32), value FROM generate", "unixepoch('subsec')"),
            _ => ("SELECT sha256(value::text::bytea), value FROM generate", "extract(epoch FROM now())"),
        };
        store
            .sql(&format!(
                "WITH RECURSIVE generate (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM generate WHERE value < 2500) \
                 INSERT INTO log_in_attempts (name_digest, whole_at) {digests}"
            ))
            .await;
        let of_today = match store.backend() {
            sea_orm::DbBackend::Sqlite => {
                format!("INSERT INTO log_in_attempts VALUES (zeroblob(32), CAST(({now} + 3600) * 1000000 AS INTEGER))")
            }
            _ => format!("INSERT INTO log_in_attempts VALUES (decode(repeat('00', 32), 'hex'), (({now} + 3600) * 1000000)::bigint)"),
        };
        store.sql(&of_today).await;
        let mut config = config(&store.place);
        config.housekeeping_interval = Duration::from_millis(50);
        let replica = Replica::start(config).await;
        eventually("the old ones are gone", || async { store.count("log_in_attempts").await == 1 }).await;
        replica.stop().await;
        assert_eq!(store.count("log_in_attempts").await, 1, "who has used up a part of the allowance stays");
    }
);
