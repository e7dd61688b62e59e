//! The operations commands without an engine: what they refuse is not done. Fake `docker` and
//! `merch` programs record their arguments.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use merch_deploy_tests::directories::root;
use tempfile::TempDir;

const COMMANDS: [&str; 16] = [
    "admin",
    "backup",
    "db-reset",
    "db-seed",
    "down",
    "log-channel",
    "logs",
    "migrate",
    "ps",
    "psql",
    "renew-certificates",
    "restore",
    "rolling-restart",
    "scale",
    "top",
    "up",
];
/// An engine with one container of each service.
const WORKING_ENGINE: &str = "case \"$1\" in ps) echo one ;; inspect) echo healthy ;; esac";
/// An engine whose containers cannot be stopped.
const ENGINE_WITHOUT_STOP: &str = "case \"$1\" in ps) echo one ;; stop) exit 1 ;; esac";
const NO_ENGINE: &str = "exit 1";

struct Sandbox(TempDir);

impl Sandbox {
    /// Creates a sandbox with this `docker`.
    fn with(docker: &str) -> Self {
        let sandbox = Self(tempfile::tempdir().expect("a directory"));
        for dir in ["bin", "data"] {
            fs::create_dir(sandbox.path(dir)).expect("a directory");
        }
        for (program, does) in [("docker", docker), ("merch", "")] {
            let path = sandbox.path(&format!("bin/{program}"));
            fs::write(
                &path,
                format!(
                    "#!/bin/sh\necho \"{program} $*\" >>'{}'\n{does}\n",
                    sandbox.path("done").display()
                ),
            )
            .expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        sandbox
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a program. `Err` contains its output.
    fn run(&self, program: &str, words: &[&str], store: &str) -> Result<(), String> {
        let path =
            format!("{}:{}", self.path("bin").display(), std::env::var("PATH").expect("a path"));
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(root())
            .stdin(Stdio::null())
            .env("PATH", path)
            .env("YES", "1")
            .env("STORE", store);
        for (name, file) in [
            ("MERCH", "bin/merch"),
            ("MERCH_DATA_DIR", "data"),
            ("MERCH_ENV_FILE", "env"),
            ("CARGO_TARGET_DIR", "target"),
        ] {
            command.env(name, self.path(file));
        }
        for name in ["COMPOSE_ENV_FILES", "COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "FILE", "SERVICE"]
        {
            command.env_remove(name);
        }
        let output = command.output().expect("it starts");
        let output_text =
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() { Ok(()) } else { Err(output_text) }
    }

    fn operate(&self, name: &str, arguments: &[&str], store: &str) -> Result<(), String> {
        self.run(&root().join("tools/operate").join(name).display().to_string(), arguments, store)
    }

    /// The recorded calls.
    fn calls(&self) -> String {
        fs::read_to_string(self.path("done")).unwrap_or_default()
    }
}

#[test]
fn misspelt_store_is_refused() {
    for name in COMMANDS {
        let sandbox = Sandbox::with(WORKING_ENGINE);
        let output_text = sandbox.operate(name, &[], "embeded").unwrap_err();
        assert!(
            output_text.contains("STORE is \"embeded\"; expected compose or embedded"),
            "{name}: {output_text}"
        );
        assert_eq!(sandbox.calls(), "", "{name}");
    }
}

#[test]
fn missing_engine_does_not_select_the_embedded_store() {
    let sandbox = Sandbox::with(NO_ENGINE);
    fs::write(sandbox.path("env"), "MERCH_PORT=8080\n").unwrap();
    fs::write(sandbox.path("data/merch.db"), "orders").unwrap();
    let output_text = sandbox.operate("db-reset", &[], "").unwrap_err();
    assert!(output_text.contains("no container engine answers"), "{output_text}");
    assert!(
        sandbox.path("data/merch.db").exists() && !sandbox.calls().contains("merch"),
        "{}",
        sandbox.calls()
    );
    sandbox.operate("db-reset", &[], "embedded").unwrap();
    assert!(
        !sandbox.path("data/merch.db").exists() && sandbox.calls().contains("merch migrate"),
        "{}",
        sandbox.calls()
    );
}

#[test]
fn reset_refuses_a_locked_store() {
    let sandbox = Sandbox::with(NO_ENGINE);
    fs::write(sandbox.path("data/merch.db"), "orders").unwrap();
    let lock = fs::File::create(sandbox.path("data/db.lock")).unwrap();
    lock.lock().unwrap();
    let output_text = sandbox.operate("db-reset", &[], "embedded").unwrap_err();
    assert!(output_text.contains("runs; stop it first"), "{output_text}");
    assert!(sandbox.path("data/merch.db").exists());
    drop(lock);
    sandbox.operate("db-reset", &[], "embedded").unwrap();
    assert!(!sandbox.path("data/merch.db").exists());
}

#[test]
fn reset_requires_stopped_writers() {
    let sandbox = Sandbox::with(ENGINE_WITHOUT_STOP);
    let output_text = sandbox.operate("db-reset", &[], "compose").unwrap_err();
    assert!(output_text.contains("the database was not recreated"), "{output_text}");
    assert!(
        sandbox.calls().contains("docker stop one") && !sandbox.calls().contains("exec"),
        "{}",
        sandbox.calls()
    );
    assert!(
        sandbox.calls().trim_end().ends_with("docker start one one"),
        "they are started again: {}",
        sandbox.calls()
    );

    let sandbox = Sandbox::with(WORKING_ENGINE);
    sandbox.operate("db-reset", &[], "compose").unwrap();
    assert!(
        sandbox.calls().contains("docker compose exec -T postgres psql"),
        "{}",
        sandbox.calls()
    );
}

#[test]
fn scale_only_changes_its_lines_in_env() {
    let sandbox = Sandbox::with(WORKING_ENGINE);
    // Without a final line break.
    fs::write(sandbox.path("env"), "MERCH_DB_REPLICAS=1\nMERCH_ADMIN_TOKEN=token").unwrap();
    sandbox.run("make", &["scale", "api=3", "db=2"], "").unwrap();
    assert_eq!(
        fs::read_to_string(sandbox.path("env")).unwrap(),
        "MERCH_DB_REPLICAS=2\nMERCH_ADMIN_TOKEN=token\nMERCH_API_REPLICAS=3\n"
    );
    for typo in ["apl=3", "api=0", "api=many"] {
        let before = sandbox.calls();
        let output_text = sandbox.run("make", &["scale", typo, "db=4"], "").unwrap_err();
        assert!(
            output_text.contains(typo) && output_text.contains("expected"),
            "{typo}: {output_text}"
        );
        assert_eq!(
            sandbox.calls().matches(" up ").count(),
            before.matches(" up ").count(),
            "{typo}"
        );
    }
    assert!(!fs::read_to_string(sandbox.path("env")).unwrap().contains('4'));
}

#[test]
fn volumes_are_removed_only_after_confirmation() {
    let sandbox = Sandbox::with(WORKING_ENGINE);
    let removing = |arguments: &[&str]| {
        let path = format!("{}:{}", sandbox.path("bin").display(), std::env::var("PATH").unwrap());
        let mut down = Command::new(root().join("tools/operate/down"));
        down.args(arguments)
            .env("PATH", path)
            .env("STORE", "compose")
            .env_remove("YES")
            .stdin(Stdio::null())
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(!removing(&["--volumes"]) && !removing(&["-v"]));
    assert!(!sandbox.calls().contains("down"), "{}", sandbox.calls());
    assert!(removing(&[]));
    assert!(sandbox.calls().contains("docker compose down"), "{}", sandbox.calls());
}
