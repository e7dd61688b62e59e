//! The journals of all replicas that share a data folder: each replica has one for itself, and
//! those that live ship what one that is gone left behind.
//!
//! A replica that is killed and starts again may well start with another journal than it had; a
//! replica that is scaled away does not start again at all. So nobody owns a journal for longer
//! than it holds its lock, which the system frees even after kill -9, and what stands in one is
//! everybody's business.

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

/// More replicas than these have no place beside each other.
const MOST: usize = 1000;
/// Between two looks at what was left behind.
const LOOK: Duration = Duration::from_secs(5);
/// After a failure: files that are damaged do not get better, and each look at them is a line in
/// the log.
const AGAIN: Duration = Duration::from_secs(60);
/// How long one journal is held to be shipped. The logging service may be away for longer; then the
/// next look takes it again.
const HOLD: Duration = Duration::from_secs(600);

/// Opens the first journal that nobody has of `first`, `first-2`, `first-3` and so on. Blocks for
/// as long as its last segment takes to read.
///
/// # Errors
/// When a folder cannot be made, read or written, or all are taken.
pub(crate) fn take(
    first: &Path,
    options: &JournalOptions,
) -> Result<(Journal, PathBuf), StartError> {
    for number in 1..=MOST {
        let folder = numbered(first, number);
        if let Some(journal) = Journal::open_if_free(&folder, options.clone())? {
            return Ok((journal, folder));
        }
    }
    Err(StartError::new(format!(
        "{} and {} more beside it are all in use; expected fewer replicas in one place",
        first.display(),
        MOST - 1
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

/// Ships what replicas that are gone left in their journals, again and again until `shutdown` is
/// cancelled; what is under way then is left to others.
///
/// `own` is the journal that this replica writes. `ship` ships one journal until it is empty, as
/// [`merch_logging::client::ship`] does when its token is cancelled already.
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
            for folder in left_behind(&first, &own) {
                if failed.get(&folder).is_some_and(|at| at.elapsed() < AGAIN) {
                    continue;
                }
                if let Err(error) = adopt_one(&folder, &options, &ship).await {
                    tracing::error!(folder = %folder.display(), %error, "log events that a replica left behind cannot be shipped");
                    failed.insert(folder, Instant::now());
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown.cancelled() => {}
    }
}

/// The folders beside `own` that may hold events, whether somebody has them or not.
fn left_behind(first: &Path, own: &Path) -> Vec<PathBuf> {
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
    let mut folders: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_journal))
        .map(|entry| entry.path())
        // One that cannot be read is told of when it is opened.
        .filter(|folder| folder != own && Journal::may_hold_events(folder).unwrap_or(true))
        .collect();
    folders.sort_unstable();
    folders
}

/// Ships what is in one folder, unless somebody has it, and leaves it empty.
async fn adopt_one<F: Future<Output = ()>>(
    folder: &Path,
    options: &JournalOptions,
    ship: &impl Fn(Journal, ShipOptions, CancellationToken) -> F,
) -> Result<(), AdoptError> {
    let (path, options) = (folder.to_owned(), options.clone());
    let Some(journal) = blocking(move || Journal::open_if_free(path, options)).await?? else {
        return Ok(());
    };
    let events = journal.backlog();
    if events > 0 {
        tracing::info!(folder = %folder.display(), events, "log events that a replica left behind are shipped");
        let now = CancellationToken::new();
        now.cancel();
        // A name of its own in the metrics: whether this stream is connected says nothing of the
        // replica's own.
        ship(
            journal.clone(),
            ShipOptions { drain_timeout: HOLD, ..ShipOptions::new("api-adopted") },
            now,
        )
        .await;
    }
    let left = journal.backlog();
    if blocking(move || journal.clear()).await?? || left == 0 {
        Ok(())
    } else {
        Err(AdoptError::Left(left))
    }
}

#[derive(Debug, thiserror::Error)]
enum AdoptError {
    #[error(transparent)]
    Open(#[from] StartError),
    #[error("the folder cannot be emptied: {0}")]
    Clear(#[from] io::Error),
    #[error("a thread ended with a bug: {0}")]
    Bug(#[from] tokio::task::JoinError),
    #[error(
        "{0} of them are left, as the logging service did not take them or the files are damaged; it is tried again"
    )]
    Left(u64),
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
    fn each_replica_has_a_journal_of_its_own_and_the_first_free_one_is_taken_again() {
        let data = tempfile::tempdir().unwrap();
        let (first, options) = (data.path().join("journal"), JournalOptions::default());
        let replicas = [(); 3].map(|()| take(&first, &options).unwrap());
        let names =
            replicas.each_ref().map(|(_, folder)| folder.file_name().unwrap().to_str().unwrap());
        assert_eq!(names, ["journal", "journal-2", "journal-3"]);
        let [_one, two, _three] = replicas;
        drop(two);
        assert_eq!(take(&first, &options).unwrap().1, data.path().join("journal-2"));
    }

    /// Reads and acknowledges all, as the logging service does; `arrived` gets the messages.
    async fn deliver(journal: Journal, arrived: Arc<Mutex<Vec<String>>>) {
        for (position, event) in journal.read(None, 1000).await.unwrap() {
            arrived.lock().unwrap().push(event.message);
            journal.acknowledge(&[position]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_a_replica_leaves_behind_is_shipped_by_another_and_what_it_holds_is_not() {
        let data = tempfile::tempdir().unwrap();
        let (first, options) = (data.path().join("journal"), JournalOptions::default());
        let (own, own_folder) = take(&first, &options).unwrap();
        let (gone, gone_folder) = take(&first, &options).unwrap();
        let (living, living_folder) = take(&first, &options).unwrap();
        own.append(event("of this one")).await.unwrap();
        gone.append(event("left behind")).await.unwrap();
        living.append(event("of another one")).await.unwrap();
        fs::create_dir(data.path().join("journal-of-something-else")).unwrap();
        // As after kill -9: without a word, and the lock is free.
        drop(gone);
        assert_eq!(left_behind(&first, &own_folder), [gone_folder.clone(), living_folder.clone()]);

        let (arrived, shutdown) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let adopting = tokio::spawn({
            let (arrived, first, own_folder, options, shutdown) = (
                Arc::clone(&arrived),
                first.clone(),
                own_folder.clone(),
                options.clone(),
                shutdown.clone(),
            );
            async move {
                adopt(
                    first,
                    own_folder,
                    options,
                    |journal, _, _| deliver(journal, Arc::clone(&arrived)),
                    shutdown,
                )
                .await
            }
        });
        tokio::time::timeout(Duration::from_secs(20), async {
            while Journal::may_hold_events(&gone_folder).unwrap() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .unwrap();
        assert_eq!(*arrived.lock().unwrap(), ["left behind"]);
        assert_eq!((own.backlog(), living.backlog()), (1, 1));
        assert_eq!(left_behind(&first, &own_folder), [living_folder]);
        shutdown.cancel();
        adopting.await.unwrap();
        // The thread that emptied it may hold the lock a little longer than its caller waits.
        while Journal::open_if_free(gone_folder.clone(), options.clone()).unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }

        // The emptied journal is there for the next replica, and its numbers go on.
        let (next, folder) = take(&first, &options).unwrap();
        assert_eq!((folder, next.backlog()), (gone_folder, 0));
        next.append(event("later")).await.unwrap();
        assert_eq!(next.backlog(), 1);
    }

    #[tokio::test]
    async fn what_nobody_takes_stays() {
        let data = tempfile::tempdir().unwrap();
        let (first, options) = (data.path().join("journal"), JournalOptions::default());
        let (gone, folder) = take(&first, &options).unwrap();
        gone.append(event("left behind")).await.unwrap();
        drop(gone);
        let error =
            adopt_one(&folder, &options, &|_, _, _| async {}).await.unwrap_err().to_string();
        assert!(error.starts_with("1 of them are left"), "{error}");
        assert_eq!(Journal::open(&folder, options).unwrap().backlog(), 1);
    }
}
