//! Driver processes: arguments, output and exit code.

use std::{
    fmt,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use merch_test_store::TestStore;
use tokio::task::spawn_blocking;

/// Far longer than the slowest driver takes; each of its requests has its own limit.
const RUN_TIMEOUT: Duration = Duration::from_secs(180);
/// The product without stock, which is neither the first nor the last of the list.
pub(crate) const SOLD_OUT: i32 = 3;

#[derive(Clone, Debug)]
pub(crate) struct Driver {
    program: PathBuf,
    variables: Vec<(&'static str, String)>,
}

pub(crate) struct Run {
    /// `None` after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Driver {
    /// # Panics
    /// If the client is missing or older than its sources.
    pub(crate) async fn of(language: &'static str) -> Self {
        let check = move || {
            Command::new(root().join("tools/clients"))
                .arg("--check")
                .arg(language)
                .stdin(Stdio::null())
                .output()
        };
        let check = spawn_blocking(check)
            .await
            .unwrap()
            .unwrap_or_else(|error| panic!("tools/clients cannot be started: {error}"));
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .expect("cargo makes the directory `tmp` in its target directory");
        let unique = merch_test_store::fresh_name();
        Self {
            program: target.join("clients").join(language).join("drive"),
            // The last digits are random; at most 14 fit.
            variables: vec![
                ("MERCH_UNIQUE", unique[unique.len() - 12..].to_owned()),
                ("MERCH_SOLD_OUT_PRODUCT", SOLD_OUT.to_string()),
            ],
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.into()));
        self
    }

    pub(crate) async fn run(&self) -> Run {
        let mut command = Command::new(&self.program);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        spawn_blocking(move || {
            let child = command.spawn().unwrap_or_else(|error| {
                panic!("{} cannot be started: {error}", command.get_program().display())
            });
            finish(child)
        })
        .await
        .unwrap()
    }
}

/// Reads a process's output; kills it after a time-out.
fn finish(mut child: Child) -> Run {
    let stdout = reader(child.stdout.take().unwrap());
    let stderr = reader(child.stderr.take().unwrap());
    let deadline = Instant::now() + RUN_TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            break child.wait().unwrap();
        }
        thread::sleep(Duration::from_millis(5));
    };
    Run { code: status.code(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn reader(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Run {
    /// # Panics
    /// If the driver ended with another code or without these words.
    pub(crate) fn expect_failure(&self, what: &str, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{what}: expected exit {code}\n{self}");
        for word in words {
            assert!(
                self.stderr.contains(word),
                "{what}: expected {word:?} in what it says\n{self}"
            );
        }
    }

    /// The rest of each line that begins with a word.
    pub(crate) fn lines<'s>(&'s self, word: &'static str) -> impl Iterator<Item = &'s str> {
        self.stdout.lines().filter_map(move |line| line.strip_prefix(word)?.strip_prefix(' '))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "exit {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.code,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        )
    }
}

pub(crate) async fn store() -> TestStore {
    let store = TestStore::start(merch_test_store::Database::Sqlite).await;
    store.set_stock(SOLD_OUT, 0).await;
    store
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is a directory of the workspace")
}

/// One test per language. The modules name the tools that a language needs besides Node and Rust;
/// `tools/test` skips those that a machine lacks.
macro_rules! each_language {
    ($test:path) => {
        each_language! { @tests $test, rust typescript }
        mod needs_go {
            each_language! { @tests $test, go }
        }
        mod needs_java {
            // The generator comes from PyPI.
            mod needs_python {
                each_language! { @tests $test, java }
            }
        }
        mod needs_python {
            each_language! { @tests $test, python }
        }
    };
    (@tests $test:path, $($language:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $language() {
            $test(stringify!($language)).await;
        }
    )*};
}
