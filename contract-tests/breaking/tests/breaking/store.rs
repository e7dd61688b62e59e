//! Checkouts in temporary folders, with what the gate looks at and nothing else.

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use contract_breaking::{Contracts, gate::Gate, release::Baseline};
use tempfile::TempDir;

/// The checkout that the tests stand in.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The last release.
pub(crate) fn released() -> &'static Contracts {
    static RELEASED: OnceLock<Contracts> = OnceLock::new();
    RELEASED.get_or_init(|| {
        Baseline::read(&repository()).unwrap_or_else(|error| panic!("{error}")).contracts
    })
}

/// A program of tools/package.json.
pub(crate) fn tool(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("cargo makes the folder `tmp` in its target folder");
    let tool = target.join("tools/node/node_modules/.bin").join(name);
    assert!(
        tool.exists(),
        "{} is not there: run tools/install first, as make test does",
        tool.display()
    );
    tool
}

/// A checkout whose last release and whose contracts are given.
pub(crate) struct Checkout {
    folder: TempDir,
}

impl Checkout {
    pub(crate) fn new(before: &Contracts, after: &Contracts) -> Self {
        let checkout = Self { folder: tempfile::tempdir().unwrap() };
        for file in ["redocly-diff.yaml", "buf.yaml"] {
            fs::copy(repository().join(file), checkout.path().join(file)).unwrap();
        }
        before.write(checkout.path()).unwrap();
        Baseline::replace(checkout.path()).unwrap();
        after.write(checkout.path()).unwrap();
        checkout
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate { root: self.path().to_owned(), redocly: tool("redocly"), buf: tool("buf") }
    }
}

/// The contracts, in another version.
pub(crate) fn in_version(contracts: &Contracts, version: &str) -> Contracts {
    let mut contracts = contracts.clone();
    contracts.openapi["info"]["version"] = version.into();
    contracts.openapi_text = serde_json::to_string_pretty(&contracts.openapi).unwrap();
    contracts
}

/// What a function makes of each item, in their order, on as many threads as there are cores: each
/// call starts a process or two.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    function: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let (next, threads) =
        (AtomicUsize::new(0), thread::available_parallelism().map_or(2, NonZeroUsize::get));
    let work = || {
        let mut results = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return results };
            results.push((index, function(item)));
        }
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
