//! The journals of replicas that share a data directory. Each replica writes one, and ships those
//! of dead replicas.
//!
//! A restarted replica can get another journal, and a removed one never restarts. So only the lock
//! assigns a journal; the system releases it even after `kill -9`.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use merch_chassis::StartError;
use merch_logging::client::{
    ShipOptions,
    journal::{Journal, JournalOptions},
};
use tokio_util::sync::CancellationToken;

const MAX_JOURNALS: usize = 1000;
const SCAN_INTERVAL: Duration = Duration::from_secs(5);
/// Damaged files stay damaged, and each attempt writes a log line.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// The time for one orphaned journal; the next scan continues.
const SHIP_TIMEOUT: Duration = Duration::from_secs(600);

/// Opens the first unlocked journal of `first`, `first-2`, `first-3` and so on. Blocks while it
/// reads the last segment.
///
/// # Errors
/// If a directory cannot be created, read or written, or all journals are locked.
pub(crate) fn open_first_free(
    first: &Path,
    options: &JournalOptions,
) -> Result<(Journal, PathBuf), StartError> {
    for number in 1..=MAX_JOURNALS {
        let dir = numbered(first, number);
        if let Some(journal) = Journal::open_if_free(&dir, options.clone())? {
            return Ok((journal, dir));
        }
    }
    Err(StartError::new(format!(
        "all journals from {} to number {} are locked; expected fewer replicas on this data \
         directory",
        first.display(),
        MAX_JOURNALS
    )))
}

fn numbered(first: &Path, number: usize) -> PathBuf {
    if number == 1 {
        return first.to_owned();
    }
    let mut name = OsString::from(first);
    name.push(format!("-{number}"));
    PathBuf::from(name)
}

/// Ships orphaned journals until `shutdown` is cancelled.
///
/// `own` is this replica's journal. `ship` ships one until it is empty, as
/// [`merch_logging::client::ship`] does with a cancelled token.
pub(crate) async fn adopt<F: Future<Output = ()>>(
    first: PathBuf,
    own: PathBuf,
    options: JournalOptions,
    ship: impl Fn(Journal, ShipOptions, CancellationToken) -> F,
    shutdown: CancellationToken,
) {
    let mut failed = BTreeMap::<PathBuf, Instant>::new();
    let work = async {
        loop {
            for dir in orphaned(&first, &own) {
                if failed.get(&dir).is_some_and(|at| at.elapsed() < RETRY_INTERVAL) {
                    continue;
                }
                if let Err(error) = adopt_one(&dir, &options, &ship).await {
                    tracing::error!(
                        dir = %dir.display(),
                        %error,
                        "failed to ship an orphaned journal; retrying"
                    );
                    failed.insert(dir, Instant::now());
                }
            }
            tokio::time::sleep(SCAN_INTERVAL).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown.cancelled() => {}
    }
}

/// Returns the other directories that may hold events, locked or not.
fn orphaned(first: &Path, own: &Path) -> Vec<PathBuf> {
    let (Some(parent), Some(name)) =
        (first.parent(), first.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let is_journal = |candidate: &str| {
        candidate.strip_prefix(name).is_some_and(|rest| {
            rest.is_empty()
                || rest
                    .strip_prefix('-')
                    .and_then(|number| number.parse().ok())
                    .is_some_and(|number: usize| number > 1)
        })
    };
    let mut dirs: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_journal))
        .map(|entry| entry.path())
        // Opening it reports the error.
        .filter(|dir| dir != own && Journal::may_hold_events(dir).unwrap_or(true))
        .collect();
    dirs.sort_unstable();
    dirs
}

async fn adopt_one<F: Future<Output = ()>>(
    dir: &Path,
    options: &JournalOptions,
    ship: &impl Fn(Journal, ShipOptions, CancellationToken) -> F,
) -> Result<(), AdoptError> {
    let (path, options) = (dir.to_owned(), options.clone());
    let Some(journal) = blocking(move || Journal::open_if_free(path, options)).await?? else {
        return Ok(());
    };
    let events = journal.backlog();
    if events > 0 {
        tracing::info!(dir = %dir.display(), events, "shipping an orphaned journal");
        let now = CancellationToken::new();
        now.cancel();
        // A separate name in the metrics.
        ship(
            journal.clone(),
            ShipOptions { drain_timeout: SHIP_TIMEOUT, ..ShipOptions::new("api-adopted") },
            now,
        )
        .await;
    }
    let remaining = journal.backlog();
    if blocking(move || journal.clear()).await?? || remaining == 0 {
        Ok(())
    } else {
        Err(AdoptError::Remaining(remaining))
    }
}

#[derive(Debug, thiserror::Error)]
enum AdoptError {
    #[error(transparent)]
    Open(#[from] StartError),
    #[error("failed to clear the directory: {0}")]
    Clear(#[from] io::Error),
    #[error("a thread panicked: {0}")]
    Panicked(#[from] tokio::task::JoinError),
    #[error(
        "{0} events remain: the logging service did not acknowledge them, or the files are damaged"
    )]
    Remaining(u64),
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    tokio::task::spawn_blocking(work).await
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use merch_logging::{client::EventSource as _, proto::LogMessage};

    use super::*;

    fn event(message: &str) -> LogMessage {
        LogMessage { message: message.to_owned(), ..LogMessage::default() }
    }

    #[test]
    fn replica_opens_the_first_unlocked_journal() {
        let data = tempfile::tempdir().unwrap();
        let (first, options) = (data.path().join("journal"), JournalOptions::default());
        let replicas = [(); 3].map(|()| open_first_free(&first, &options).unwrap());
        let names = replicas.each_ref().map(|(_, dir)| dir.file_name().unwrap().to_str().unwrap());
        assert_eq!(names, ["journal", "journal-2", "journal-3"]);
        let [_one, two, _three] = replicas;
        drop(two);
        assert_eq!(open_first_free(&first, &options).unwrap().1, data.path().join("journal-2"));
    }

    async fn deliver(journal: Journal, arrived: Arc<Mutex<Vec<String>>>) {
        for (position, event) in journal.read(None, 1000).await.unwrap() {
            arrived.lock().unwrap().push(event.message);
            journal.acknowledge(&[position]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn only_orphaned_journals_are_shipped() {
        let data = tempfile::tempdir().unwrap();
        let (first, options) = (data.path().join("journal"), JournalOptions::default());
        let (own, own_dir) = open_first_free(&first, &options).unwrap();
        let (dead, dead_dir) = open_first_free(&first, &options).unwrap();
        let (live, live_dir) = open_first_free(&first, &options).unwrap();
        own.append(event("own")).await.unwrap();
        dead.append(event("orphaned")).await.unwrap();
        live.append(event("live")).await.unwrap();
        fs::create_dir(data.path().join("journal-of-something-else")).unwrap();
        // As after `kill -9`: the lock is free.
        drop(dead);
        assert_eq!(orphaned(&first, &own_dir), [dead_dir.clone(), live_dir.clone()]);

        let (arrived, shutdown) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let adopting = tokio::spawn({
            let (arrived, first, own_dir, options, shutdown) = (
                Arc::clone(&arrived),
                first.clone(),
                own_dir.clone(),
                options.clone(),
                shutdown.clone(),
            );
            async move {
                adopt(
                    first,
                    own_dir,
                    options,
                    |journal, _, _| deliver(journal, Arc::clone(&arrived)),
                    shutdown,
                )
                .await
            }
        });
        tokio::time::timeout(Duration::from_secs(20), async {
            while Journal::may_hold_events(&dead_dir).unwrap() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
        assert_eq!(*arrived.lock().unwrap(), ["orphaned"]);
        assert_eq!((own.backlog(), live.backlog()), (1, 1));
        assert_eq!(orphaned(&first, &own_dir), [live_dir]);
        shutdown.cancel();
        adopting.await.unwrap();
        // The thread that cleared the journal may still hold the lock.
        while Journal::open_if_free(dead_dir.clone(), options.clone()).unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }

        // Its sequence numbers continue.
        let (next, dir) = open_first_free(&first, &options).unwrap();
        assert_eq!((dir, next.backlog()), (dead_dir, 0));
        next.append(event("later")).await.unwrap();
        assert_eq!(next.backlog(), 1);
    }

    #[tokio::test]
    async fn unshipped_events_stay_in_the_journal() {
        let data = tempfile::tempdir().unwrap();
        let (first, options) = (data.path().join("journal"), JournalOptions::default());
        let (dead, dir) = open_first_free(&first, &options).unwrap();
        dead.append(event("orphaned")).await.unwrap();
        drop(dead);
        let error = adopt_one(&dir, &options, &|_, _, _| async {}).await.unwrap_err().to_string();
        assert!(error.starts_with("1 events remain"), "{error}");
        assert_eq!(Journal::open(&dir, options).unwrap().backlog(), 1);
    }
}
