//! The image's software bill of materials.

use anyhow::{Context as _, Result, ensure};
use merch_deploy_tests::{command::Command, image};
use serde_json::Value;

/// Copies a file out of an image with `docker cp`.
async fn file_of(image: &str, path: &str, to: &std::path::Path) -> Result<String> {
    let container = Command::new("docker").args(["create", image]).succeed().await?;
    let container = container.trim();
    let copied = Command::new("docker")
        .args(["cp", &format!("{container}:{path}")])
        .args([to])
        .succeed()
        .await;
    Command::new("docker").args(["rm", container]).succeed().await?;
    copied?;
    Ok(std::fs::read_to_string(to)?)
}

#[tokio::test]
#[ignore = "needs docker: make test-compose runs it"]
async fn image_contains_its_bill_of_materials() {
    let check = async || -> Result<()> {
        let dir = tempfile::tempdir()?;
        let text = file_of(
            &image::name().await?,
            "/usr/share/doc/merch/merch.cdx.json",
            &dir.path().join("bill.json"),
        )
        .await?;
        let bill: Value = serde_json::from_str(&text)?;
        ensure!(
            bill["bomFormat"] == "CycloneDX" && bill["metadata"]["component"]["name"] == "merch",
            "{}",
            bill["metadata"]
        );
        let linked: Vec<&str> = bill["components"]
            .as_array()
            .context("components")?
            .iter()
            .filter(|component| component["scope"] == "required")
            .filter_map(|component| component["name"].as_str())
            .collect();
        // The image includes TLS to Kafka; a default build does not.
        for name in ["merch-api", "sea-orm", "tonic", "sqlite", "librdkafka", "openssl"] {
            ensure!(linked.contains(&name), "{name} is not among {linked:?}");
        }
        Ok(())
    };
    check().await.unwrap();
}
