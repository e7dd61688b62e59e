//! A run with a fixed seed on each deployment: about a minute each.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![allow(clippy::disallowed_macros, reason = "progress of tests that take a minute")]
#![cfg(target_os = "linux")]

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use chaos::{
    books::Deployment,
    run::{Options, run},
    store::Machine,
};

/// Returns the directory of built programs: this one is in `deps`.
fn programs() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

fn faketime() -> Option<PathBuf> {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/lib.sh");
    let script = format!(". '{}' && find_faketime", lib.display());
    let found = Command::new("bash").args(["-c", &script]).output().unwrap();
    found.status.success().then(|| String::from_utf8(found.stdout).unwrap().trim().into())
}

async fn promises_hold(deployment: Deployment, seed: u64) {
    let merch = programs().join("merch");
    assert!(merch.is_file(), "{}: run cargo test --workspace", merch.display());
    let faketime = faketime();
    assert!(faketime.is_some(), "no libfaketime: run tools/install faketime");
    let directory = programs().join(format!("chaos-{deployment:?}-{seed}").to_lowercase());
    let options = Options {
        seed,
        length: Duration::from_secs(60),
        deployment,
        machine: Machine { merch, faketime, small_disks: true, directory: directory.clone() },
        say: |line| println!("{line}"),
    };
    let verdict = run(options).await.unwrap();
    println!("{}", verdict.text);
    assert!(verdict.is_kept, "{}\nbooks: {}", verdict.text, directory.display());
    std::fs::remove_dir_all(directory).unwrap();
}

/// `tools/test` skips it without libfaketime.
mod needs_faketime {
    use super::*;

    #[tokio::test]
    async fn embedded_store_keeps_its_promises() {
        promises_hold(Deployment::Embedded, 1).await;
    }

    /// `tools/test` skips it without a Java runtime and Maven.
    mod needs_java {
        use super::*;

        #[tokio::test]
        async fn roles_keep_their_promises() {
            promises_hold(Deployment::Roles, 1).await;
        }
    }
}
