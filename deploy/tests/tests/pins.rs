//! `make pin-images` and the rule that it serves, on a copy of the files: every image has a digest,
//! or a line that says why it has none. The engine is one that only says what it is asked for.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use merch_deploy_tests::stack::root;
use tempfile::TempDir;

const FILES: [&str; 6] = [
    "Dockerfile",
    "compose.yaml",
    "compose.zookeeper.yaml",
    "deploy/images.unpinned",
    "tools/lib.sh",
    "tools/operate/pin-images",
];
const IMAGES: [&str; 7] = [
    "apache/kafka:4.1.1",
    "confluentinc/cp-kafka:7.7.1",
    "confluentinc/cp-zookeeper:7.7.1",
    "debian:bookworm-slim",
    "nginx:1.28",
    "postgres:17",
    "rust:1.95-bookworm",
];

struct Copy(TempDir);

impl Copy {
    /// With such a digest for every image, or with none.
    fn new(digest: Option<char>) -> Self {
        let copy = Self(tempfile::tempdir().expect("a folder"));
        for file in FILES {
            let to = copy.path(file);
            fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
            fs::copy(root().join(file), to).expect("a copy");
        }
        copy.engine(digest);
        copy
    }

    fn engine(&self, digest: Option<char>) {
        let program = self.path("bin/docker");
        fs::create_dir_all(self.path("bin")).expect("a folder");
        let said = digest
            .map(|digit| format!("echo \"${{5%:*}}@sha256:{}\"", digit.to_string().repeat(64)))
            .unwrap_or_default();
        fs::write(
            &program,
            format!("#!/bin/sh\ncase \"$1 $2\" in 'image inspect') {said};; esac\n"),
        )
        .expect("a file");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a text")
    }

    /// Runs the script. `Err` is what it said when it failed.
    fn pin(&self, arguments: &[&str]) -> Result<String, String> {
        let path =
            format!("{}:{}", self.path("bin").display(), std::env::var("PATH").expect("a path"));
        let mut command = Command::new("bash");
        command
            .arg(self.path("tools/operate/pin-images"))
            .args(arguments)
            .env("PATH", path)
            .stdin(Stdio::null());
        let output = command.output().expect("bash starts");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() { Ok(said) } else { Err(said) }
    }
}

#[test]
fn every_image_of_the_checkout_is_pinned_or_has_a_reason() {
    Copy::new(None).pin(&["--check"]).unwrap();
}

#[test]
fn an_image_without_digest_and_reason_is_refused() {
    let copy = Copy::new(None);
    fs::write(copy.path("deploy/images.unpinned"), "# none\n").unwrap();
    let said = copy.pin(&["--check"]).unwrap_err();
    for image in IMAGES {
        assert!(said.contains(&format!("{image}: expected NAME:TAG@sha256:")), "{image}: {said}");
    }
    // A line that nothing needs any more would hide the next image of that name.
    let copy = Copy::new(None);
    fs::write(
        copy.path("deploy/images.unpinned"),
        format!("{}redis:8 no reason\n", copy.read("deploy/images.unpinned")),
    )
    .unwrap();
    let said = copy.pin(&["--check"]).unwrap_err();
    assert!(said.contains("redis:8 is in deploy/images.unpinned, but no file uses it"), "{said}");
}

#[test]
fn images_are_pinned_renewed_and_freed_again() {
    let copy = Copy::new(Some('a'));
    let before: Vec<String> = FILES[..3].iter().map(|file| copy.read(file)).collect();
    for digit in ['a', 'b'] {
        copy.engine(Some(digit));
        copy.pin(&[]).unwrap();
        let texts: String = FILES[..3].iter().map(|file| copy.read(file)).collect();
        for image in IMAGES {
            let pinned = format!("{image}@sha256:{}", digit.to_string().repeat(64));
            assert!(texts.contains(&pinned), "{pinned}");
            assert_eq!(
                texts.matches(image).count(),
                texts.matches(&pinned).count(),
                "{image} is pinned everywhere"
            );
        }
        assert!(copy.read("deploy/images.unpinned").lines().all(|line| line.starts_with('#')));
        copy.pin(&["--check"]).unwrap();
    }
    copy.pin(&["--by-tag"]).unwrap();
    let after: Vec<String> = FILES[..3].iter().map(|file| copy.read(file)).collect();
    assert_eq!(after, before);
}

#[test]
fn an_image_without_a_digest_changes_nothing() {
    let copy = Copy::new(None);
    let before: Vec<String> = FILES.iter().map(|file| copy.read(file)).collect();
    let said = copy.pin(&[]).unwrap_err();
    assert!(
        said.contains("without a digest of a registry") && said.contains("nothing was changed"),
        "{said}"
    );
    assert_eq!(FILES.iter().map(|file| copy.read(file)).collect::<Vec<_>>(), before);
}
