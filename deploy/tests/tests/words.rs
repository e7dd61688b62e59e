//! The operator's words without an engine: what they refuse, and that what they refuse is not done.
//! `docker` and `merch` only note what they are told.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use merch_deploy_tests::stack::root;
use tempfile::TempDir;

const WORDS: [&str; 16] = [
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
/// An engine with one container of each service that is asked for.
const ENGINE: &str = "case \"$1\" in ps) echo one ;; inspect) echo healthy ;; esac";
/// None of its containers can be stopped.
const STUBBORN: &str = "case \"$1\" in ps) echo one ;; stop) exit 1 ;; esac";
/// No engine answers.
const NONE: &str = "exit 1";

struct Desk(TempDir);

impl Desk {
    /// With such a `docker`.
    fn with(docker: &str) -> Self {
        let desk = Self(tempfile::tempdir().expect("a folder"));
        for folder in ["bin", "data"] {
            fs::create_dir(desk.path(folder)).expect("a folder");
        }
        for (program, does) in [("docker", docker), ("merch", "")] {
            let path = desk.path(&format!("bin/{program}"));
            fs::write(
                &path,
                format!(
                    "#!/bin/sh\necho \"{program} $*\" >>'{}'\n{does}\n",
                    desk.path("done").display()
                ),
            )
            .expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Says a word. `Err` is what it said when it failed.
    fn say(&self, program: &str, words: &[&str], store: &str) -> Result<(), String> {
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
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() { Ok(()) } else { Err(said) }
    }

    fn word(&self, word: &str, arguments: &[&str], store: &str) -> Result<(), String> {
        self.say(&root().join("tools/operate").join(word).display().to_string(), arguments, store)
    }

    /// What the programs were told.
    fn done(&self) -> String {
        fs::read_to_string(self.path("done")).unwrap_or_default()
    }
}

#[test]
fn a_misspelt_store_is_no_store() {
    for word in WORDS {
        let desk = Desk::with(ENGINE);
        let said = desk.word(word, &[], "embeded").unwrap_err();
        assert!(
            said.contains("STORE is \"embeded\"; expected compose or embedded"),
            "{word}: {said}"
        );
        assert_eq!(desk.done(), "", "{word}");
    }
}

#[test]
fn without_its_engine_the_compose_stack_is_not_mistaken_for_the_embedded_store() {
    let desk = Desk::with(NONE);
    fs::write(desk.path("env"), "MERCH_PORT=8080\n").unwrap();
    fs::write(desk.path("data/merch.db"), "orders").unwrap();
    let said = desk.word("db-reset", &[], "").unwrap_err();
    assert!(said.contains("no container engine answers"), "{said}");
    assert!(
        desk.path("data/merch.db").exists() && !desk.done().contains("merch"),
        "{}",
        desk.done()
    );
    desk.word("db-reset", &[], "embedded").unwrap();
    assert!(
        !desk.path("data/merch.db").exists() && desk.done().contains("merch migrate"),
        "{}",
        desk.done()
    );
}

#[test]
fn a_store_that_is_in_use_keeps_its_files_whether_it_is_ready_or_not() {
    let desk = Desk::with(NONE);
    fs::write(desk.path("data/merch.db"), "orders").unwrap();
    let lock = fs::File::create(desk.path("data/db.lock")).unwrap();
    lock.lock().unwrap();
    let said = desk.word("db-reset", &[], "embedded").unwrap_err();
    assert!(said.contains("runs; stop it first"), "{said}");
    assert!(desk.path("data/merch.db").exists());
    drop(lock);
    desk.word("db-reset", &[], "embedded").unwrap();
    assert!(!desk.path("data/merch.db").exists());
}

#[test]
fn the_database_is_not_touched_while_its_writers_cannot_be_stopped() {
    let desk = Desk::with(STUBBORN);
    let said = desk.word("db-reset", &[], "compose").unwrap_err();
    assert!(said.contains("the database was not made anew"), "{said}");
    assert!(
        desk.done().contains("docker stop one") && !desk.done().contains("exec"),
        "{}",
        desk.done()
    );
    assert!(
        desk.done().trim_end().ends_with("docker start one one"),
        "they are started again: {}",
        desk.done()
    );

    let desk = Desk::with(ENGINE);
    desk.word("db-reset", &[], "compose").unwrap();
    assert!(desk.done().contains("docker compose exec -T postgres psql"), "{}", desk.done());
}

#[test]
fn a_scale_that_is_remembered_leaves_the_other_lines_alone() {
    let desk = Desk::with(ENGINE);
    // Without the end of the last line.
    fs::write(desk.path("env"), "MERCH_DB_REPLICAS=1\nMERCH_ADMIN_TOKEN=token").unwrap();
    desk.say("make", &["scale", "api=3", "db=2"], "").unwrap();
    assert_eq!(
        fs::read_to_string(desk.path("env")).unwrap(),
        "MERCH_DB_REPLICAS=2\nMERCH_ADMIN_TOKEN=token\nMERCH_API_REPLICAS=3\n"
    );
    for typo in ["apl=3", "api=0", "api=many"] {
        let before = desk.done();
        let said = desk.say("make", &["scale", typo, "db=4"], "").unwrap_err();
        assert!(said.contains(typo) && said.contains("expected"), "{typo}: {said}");
        assert_eq!(desk.done().matches(" up ").count(), before.matches(" up ").count(), "{typo}");
    }
    assert!(!fs::read_to_string(desk.path("env")).unwrap().contains('4'));
}

#[test]
fn volumes_are_not_removed_unasked() {
    let desk = Desk::with(ENGINE);
    let removing = |arguments: &[&str]| {
        let path = format!("{}:{}", desk.path("bin").display(), std::env::var("PATH").unwrap());
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
    assert!(!desk.done().contains("down"), "{}", desk.done());
    assert!(removing(&[]));
    assert!(desk.done().contains("docker compose down"), "{}", desk.done());
}
