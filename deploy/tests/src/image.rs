//! The image under test: built by `tools/test-compose`, or here from the compiled program.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::{
    command::Command,
    directories::{root, target},
};

/// The limit of a build, which compiles everything from source.
const BUILD: Duration = Duration::from_secs(3600);

/// Returns the image's name: `MERCH_TEST_IMAGE`, or an image that is built once per process from
/// `target/debug/merch`, or from source with `MERCH_TEST_IMAGE_FROM_SOURCE=1`.
pub async fn name() -> Result<String> {
    if let Ok(name) = std::env::var("MERCH_TEST_IMAGE") {
        return Ok(name);
    }
    static BUILT: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    BUILT.get_or_try_init(build).await?;
    Ok(IMAGE.to_owned())
}

const IMAGE: &str = "merch:test";

async fn build() -> Result<()> {
    let script = root().join("tools/operate/image");
    let mut command = Command::new(&script).in_dir(root()).limit(BUILD).env("MERCH_IMAGE", IMAGE);
    if std::env::var_os("MERCH_TEST_IMAGE_FROM_SOURCE").is_none() {
        let program = target().join("debug/merch");
        ensure!(program.is_file(), "{} is not there; build it (cargo build)", program.display());
        command = command.env("MERCH_BINARY", program);
    }
    command.succeed().await.map(drop).context("the image under test")
}
