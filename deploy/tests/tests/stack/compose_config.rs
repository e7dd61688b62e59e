//! The output of `docker compose config` for all combinations of the compose files. Nothing is
//! started.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use merch_deploy_tests::{command::Command, directories::root, settings::Settings};
use serde_json::{Value, json};

const ZOOKEEPER: &str = "compose.zookeeper.yaml";
const SECRETS: &str = "compose.secrets.yaml";

/// Runs `docker compose config` with these overlays and new secrets. Returns the configuration and
/// the settings.
async fn compose_config(dir: &Path, overlays: &[PathBuf]) -> Result<(Value, Settings)> {
    let mut settings =
        Settings::from_example(&std::fs::read_to_string(root().join(".env.example"))?)?;
    settings.set("MERCH_SECRETS_DIR", "/somewhere");
    let env = dir.join("env");
    settings.write(&env)?;
    let mut compose = Command::new("docker")
        .in_dir(root())
        .env("COMPOSE_ENV_FILES", "")
        .args(["compose", "--env-file"])
        .args([&env]);
    compose = compose.args(["--file", "compose.yaml"]);
    for overlay in overlays {
        compose = compose.args(["--file".as_ref(), overlay.as_os_str()]);
    }
    let printed = compose.args(["config", "--format", "json"]).succeed().await?;
    Ok((serde_json::from_str(&printed)?, settings))
}

fn services(composed: &Value) -> impl Iterator<Item = (&String, &Value)> {
    composed["services"].as_object().into_iter().flatten()
}

/// Checks the hardening of every service.
fn is_hardened(composed: &Value) -> Result<()> {
    for (name, service) in services(composed) {
        ensure!(
            service["cap_drop"] == json!(["ALL"]) && service["cap_add"].is_null(),
            "{name} has capabilities"
        );
        ensure!(
            service["security_opt"] == json!(["no-new-privileges:true"]),
            "{name}: {}",
            service["security_opt"]
        );
        let network = service["network_mode"].is_null() || service["network_mode"] == "none";
        ensure!(
            service["privileged"] != true && network && service["pid"].is_null(),
            "{name} is privileged or shares a namespace"
        );
        ensure!(
            !service["mem_limit"].is_null() && !service["pids_limit"].is_null(),
            "{name} has no limits"
        );
        ensure!(service["init"] == true, "{name} has no init");
        ensure!(
            !service["restart"].is_null() && service["restart"] != "no",
            "{name} has no restart policy"
        );
        ensure!(service["logging"]["options"]["max-size"].is_string(), "{name} has no log limit");
        // Confluent's images write to their root file system.
        let writes =
            service["image"].as_str().is_some_and(|image| image.starts_with("confluentinc/"));
        ensure!(
            service["read_only"] == true || writes,
            "{name}: its root file system can be written"
        );
        for (network, _) in service["networks"].as_object().into_iter().flatten() {
            ensure!(network != "edge" || name == "nginx", "{name} is on the network edge");
        }
        match service["ports"].as_array() {
            None => {}
            Some(ports) => {
                ensure!(name == "nginx", "{name} publishes {ports:?}");
                ensure!(
                    ports.iter().all(|port| port["host_ip"] == "127.0.0.1"),
                    "{name} publishes {ports:?}"
                );
            }
        }
        for (on, how) in service["depends_on"].as_object().into_iter().flatten() {
            let wanted = if ["migrate", "pki", "topic"].contains(&on.as_str()) {
                "service_completed_successfully"
            } else {
                "service_healthy"
            };
            ensure!(how["condition"] == wanted, "{name} waits for {on}: {how}");
        }
    }
    for (name, network) in composed["networks"].as_object().into_iter().flatten() {
        ensure!(
            network["internal"] == true || name == "edge",
            "the network {name} is not internal"
        );
    }
    Ok(())
}

async fn checked(check: impl AsyncFnOnce(&Path) -> Result<()>) {
    let dir = tempfile::tempdir().expect("a directory");
    if let Err(error) = check(dir.path()).await {
        panic!("{error:#}");
    }
}

#[tokio::test]
#[ignore = "needs docker compose: make test-compose runs it"]
async fn every_compose_configuration_is_hardened() {
    checked(async |dir| {
        for overlays in [&[][..], &[SECRETS], &[ZOOKEEPER], &[SECRETS, ZOOKEEPER]] {
            let files: Vec<PathBuf> = overlays.iter().map(PathBuf::from).collect();
            let (composed, settings) = compose_config(dir, &files).await?;
            is_hardened(&composed).with_context(|| format!("{overlays:?}"))?;
            let text =
                services(&composed).map(|(_, service)| service.to_string()).collect::<String>();
            let shown =
                settings.secrets().iter().filter(|(_, secret)| text.contains(secret)).count();
            let expected = if overlays.contains(&SECRETS) { 0 } else { settings.secrets().len() };
            ensure!(
                shown == expected,
                "{overlays:?}: expected {expected} secrets in environments, got {shown}"
            );
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs docker compose: make test-compose runs it"]
async fn zookeeper_overlay_replaces_only_kraft() {
    checked(async |dir| {
        let (plain, _) = compose_config(dir, &[]).await?;
        let (seeds, _) = compose_config(dir, &[ZOOKEEPER.into()]).await?;
        let names =
            |composed: &Value| services(composed).map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let mut expected = names(&plain);
        expected.push("zookeeper".to_owned());
        ensure!(names(&seeds) == expected, "{:?}", names(&seeds));
        let kafka = &seeds["services"]["kafka"];
        for (service, image) in [
            ("kafka", "confluentinc/cp-kafka:7.7."),
            ("zookeeper", "confluentinc/cp-zookeeper:7.7."),
        ] {
            let found = seeds["services"][service]["image"].as_str().unwrap_or_default();
            ensure!(found.starts_with(image), "{service} is {found}");
        }
        let environment = kafka["environment"].as_object().context("an environment")?;
        ensure!(
            environment
                .get("KAFKA_ZOOKEEPER_CONNECT")
                .is_some_and(|address| address == "zookeeper:2181"),
            "{environment:?}"
        );
        let kraft = [
            "CLUSTER_ID",
            "KAFKA_NODE_ID",
            "KAFKA_PROCESS_ROLES",
            "KAFKA_CONTROLLER_QUORUM_VOTERS",
            "KAFKA_CONTROLLER_LISTENER_NAMES",
        ];
        ensure!(kraft.iter().all(|name| !environment.contains_key(*name)), "{environment:?}");
        // A broker with ZooKeeper cannot read KRaft's data.
        ensure!(kafka["volumes"] != plain["services"]["kafka"]["volumes"], "{}", kafka["volumes"]);
        // Kafka keeps its name and port for the other services.
        for (service, like) in services(&plain).filter(|(name, _)| *name != "kafka") {
            let others = |service: &Value| {
                let mut service = service.clone();
                for secret in [
                    "POSTGRES_PASSWORD",
                    "MERCH_DATABASE_PASSWORD",
                    "MERCH_JWT_KEY",
                    "MERCH_ADMIN_TOKEN",
                ] {
                    service["environment"][secret] = Value::Null;
                }
                service
            };
            ensure!(
                others(&seeds["services"][service]) == others(like),
                "{service} has other settings"
            );
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs docker compose: make test-compose runs it"]
async fn documented_override_replaces_the_database() {
    checked(async |dir| {
        let page = std::fs::read_to_string(root().join("docs/scaling.md"))?;
        let sample = page
            .split("```yaml\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .context("a sample in docs/scaling.md")?;
        let file = dir.join("compose.override.yaml");
        std::fs::write(&file, sample)?;
        let (composed, _) = compose_config(dir, &[file]).await?;
        ensure!(
            composed["services"]["postgres"].is_null() && composed["volumes"]["postgres"].is_null(),
            "the override does not remove postgres"
        );
        for service in ["migrate", "db"] {
            let service = &composed["services"][service];
            let url = service["environment"]["MERCH_DATABASE_URL"].as_str().unwrap_or_default();
            ensure!(
                url.contains("@db.example:5432/") && url.contains("sslmode=verify-full"),
                "{url}"
            );
            ensure!(service["networks"].get("out").is_some(), "{}", service["networks"]);
            ensure!(service["secrets"][0]["source"] == "postgres-ca", "{}", service["secrets"]);
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs docker compose: make test-compose runs it"]
async fn each_role_mounts_only_its_own_key() {
    checked(async |dir| {
        let (composed, _) = compose_config(dir, &[]).await?;
        for (name, service) in services(&composed).filter(|(name, _)| *name != "pki") {
            let keys: Vec<_> = service["volumes"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|volume| {
                    volume["source"].as_str().is_some_and(|source| source.starts_with("pki-"))
                })
                .map(|volume| {
                    (
                        volume["source"].as_str().unwrap_or_default().to_owned(),
                        volume["read_only"] == true,
                    )
                })
                .collect();
            let expected = if ["api", "db", "logging"].contains(&name.as_str()) {
                vec![(format!("pki-{name}"), true)]
            } else {
                vec![]
            };
            ensure!(keys == expected, "{name} has {keys:?}");
            for (variable, value) in service["environment"]
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(name, _)| name.ends_with("_ENDPOINT"))
            {
                ensure!(
                    value.as_str().is_some_and(|url| url.starts_with("https://")),
                    "{name}: {variable} is {value}"
                );
            }
        }
        Ok(())
    })
    .await;
}
