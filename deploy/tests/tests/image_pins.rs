//! `make pin-images` on a copy of the files, with a fake engine: every image has a digest or a
//! reason in `images.unpinned`.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use merch_deploy_tests::directories::root;
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

struct Checkout(TempDir);

impl Checkout {
    /// Creates a copy with an engine that reports this digest for every image, or none.
    fn new(digest: Option<char>) -> Self {
        let checkout = Self(tempfile::tempdir().expect("a directory"));
        for file in FILES {
            let to = checkout.path(file);
            fs::create_dir_all(to.parent().expect("a directory")).expect("a directory");
            fs::copy(root().join(file), to).expect("a copy");
        }
        checkout.engine(digest);
        checkout
    }

    fn engine(&self, digest: Option<char>) {
        let program = self.path("bin/docker");
        fs::create_dir_all(self.path("bin")).expect("a directory");
        let output_text = digest
            .map(|digit| format!("echo \"${{5%:*}}@sha256:{}\"", digit.to_string().repeat(64)))
            .unwrap_or_default();
        fs::write(
            &program,
            format!("#!/bin/sh\ncase \"$1 $2\" in 'image inspect') {output_text};; esac\n"),
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

    /// Runs the script. `Err` contains its output.
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
        let output_text =
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() { Ok(output_text) } else { Err(output_text) }
    }
}

#[test]
fn every_image_is_pinned_or_has_a_reason() {
    Checkout::new(None).pin(&["--check"]).unwrap();
}

#[test]
fn image_without_digest_or_reason_is_refused() {
    let checkout = Checkout::new(None);
    fs::write(checkout.path("deploy/images.unpinned"), "# none\n").unwrap();
    let output_text = checkout.pin(&["--check"]).unwrap_err();
    for image in IMAGES {
        assert!(
            output_text.contains(&format!("{image}: expected NAME:TAG@sha256:")),
            "{image}: {output_text}"
        );
    }
    // A stale line would hide the next image of that name.
    let checkout = Checkout::new(None);
    fs::write(
        checkout.path("deploy/images.unpinned"),
        format!("{}redis:8 no reason\n", checkout.read("deploy/images.unpinned")),
    )
    .unwrap();
    let output_text = checkout.pin(&["--check"]).unwrap_err();
    assert!(
        output_text.contains("redis:8 is in deploy/images.unpinned, but no file uses it"),
        "{output_text}"
    );
}

#[test]
fn images_are_pinned_updated_and_unpinned() {
    let checkout = Checkout::new(Some('a'));
    let before: Vec<String> = FILES[..3].iter().map(|file| checkout.read(file)).collect();
    for digit in ['a', 'b'] {
        checkout.engine(Some(digit));
        checkout.pin(&[]).unwrap();
        let texts: String = FILES[..3].iter().map(|file| checkout.read(file)).collect();
        for image in IMAGES {
            let pinned = format!("{image}@sha256:{}", digit.to_string().repeat(64));
            assert!(texts.contains(&pinned), "{pinned}");
            assert_eq!(
                texts.matches(image).count(),
                texts.matches(&pinned).count(),
                "{image} is pinned everywhere"
            );
        }
        assert!(checkout.read("deploy/images.unpinned").lines().all(|line| line.starts_with('#')));
        checkout.pin(&["--check"]).unwrap();
    }
    checkout.pin(&["--by-tag"]).unwrap();
    let after: Vec<String> = FILES[..3].iter().map(|file| checkout.read(file)).collect();
    assert_eq!(after, before);
}

#[test]
fn missing_digest_changes_nothing() {
    let checkout = Checkout::new(None);
    let before: Vec<String> = FILES.iter().map(|file| checkout.read(file)).collect();
    let output_text = checkout.pin(&[]).unwrap_err();
    assert!(
        output_text.contains("without a digest of a registry")
            && output_text.contains("nothing was changed"),
        "{output_text}"
    );
    assert_eq!(FILES.iter().map(|file| checkout.read(file)).collect::<Vec<_>>(), before);
}
