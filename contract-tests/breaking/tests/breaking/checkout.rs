//! Checkouts in temporary directories, with the files that the gate reads.

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

use contract_breaking::{Baseline, Contracts, Gate};
use tempfile::TempDir;

/// The severity levels of oasdiff, below a checkout.
pub(crate) const SEVERITY_LEVELS: &str = "contract-tests/breaking/severity-levels.txt";

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

pub(crate) fn released() -> &'static Contracts {
    static RELEASED: OnceLock<Contracts> = OnceLock::new();
    RELEASED.get_or_init(|| {
        Baseline::read(&repository()).unwrap_or_else(|error| panic!("{error}")).contracts
    })
}

/// Returns buf or redocly, which tools/install installs.
pub(crate) fn npm_tool(name: &str) -> PathBuf {
    tool("node/node_modules/.bin", name)
}

/// Returns oasdiff, which tools/install installs if the machine has Go.
pub(crate) fn oasdiff() -> PathBuf {
    tool("bin", "oasdiff")
}

fn tool(directory: &str, name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("cargo makes the directory `tmp` in its target directory");
    let tool = target.join("tools").join(directory).join(name);
    assert!(tool.exists(), "{} not found; run tools/install, as make test does", tool.display());
    tool
}

/// A checkout with a given baseline and given contracts.
pub(crate) struct Checkout {
    directory: TempDir,
}

impl Checkout {
    pub(crate) fn new(before: &Contracts, after: &Contracts) -> Self {
        let checkout = Self { directory: tempfile::tempdir().unwrap() };
        for file in [".oasdiff.yaml", "buf.yaml", SEVERITY_LEVELS] {
            let copy = checkout.path().join(file);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(repository().join(file), copy).unwrap();
        }
        before.write(checkout.path()).unwrap();
        Baseline::replace(checkout.path()).unwrap();
        after.write(checkout.path()).unwrap();
        checkout
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate { oasdiff: Some(oasdiff()), ..self.gate_without_oasdiff() }
    }

    pub(crate) fn gate_without_oasdiff(&self) -> Gate {
        Gate { root: self.path().to_owned(), oasdiff: None, buf: npm_tool("buf") }
    }
}

pub(crate) fn in_version(contracts: &Contracts, version: &str) -> Contracts {
    let mut contracts = contracts.clone();
    contracts.openapi["info"]["version"] = version.into();
    contracts.openapi_text = serde_json::to_string_pretty(&contracts.openapi).unwrap();
    contracts
}

/// Maps items in their order, with one thread per core.
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
