//! Secrets that are files: what `make env FILES=1` makes and `compose.secrets.yaml` mounts, on a
//! stack of its own.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use merch_deploy_tests::{
    load::Buyer,
    settings::{Settings, random_secret},
    shared::{figure, seconds},
    stack::{Replicas, Stack, root},
    wait::until,
};
use serde_json::json;

const FILES: [&str; 5] =
    ["admin-token", "database-password", "jwt-key", "jwt-verify-key", "postgres-password"];

/// Runs `make env FILES=1`, and answers with the `.env` that it wrote.
fn made_by_make(folder: &Path) -> Result<Settings> {
    let env = folder.join("env");
    let mut make = std::process::Command::new("make");
    make.args(["--silent", "env"]).current_dir(root());
    let said = make
        .env("FILES", "1")
        .env("MERCH_ENV_FILE", &env)
        .env("MERCH_SECRETS_DIR", folder.join("secrets"))
        .output()?;
    ensure!(said.status.success(), "make env FILES=1: {}", String::from_utf8_lossy(&said.stderr));
    Settings::read(&env)
}

/// What is in each file.
fn read(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        found.insert(
            entry.file_name().to_string_lossy().into_owned(),
            fs::read_to_string(entry.path())?,
        );
    }
    Ok(found)
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn secrets_in_files_are_in_no_environment_and_change_without_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    if let Err(error) = with_files(folder.path()).await {
        panic!("{error:#}");
    }
}

async fn with_files(folder: &Path) -> Result<()> {
    let made = made_by_make(folder)?;
    let secrets = folder.join("secrets");
    let values = read(&secrets)?;
    ensure!(values.keys().eq(FILES), "{:?}", values.keys());
    ensure!(
        fs::metadata(&secrets)?.permissions().mode() & 0o777 == 0o700,
        "others may look into the folder"
    );
    // Too short for the roles, should the overlay be forgotten, and not to be guessed.
    let opens_nothing = |value: &str| {
        value.starts_with("unused-")
            && value.len() == 23
            && !values.values().any(|secret| secret.contains(value))
    };
    ensure!(
        made.secrets().iter().all(|(_, value)| opens_nothing(value)),
        "a secret stands in .env, too"
    );
    ensure!(
        made.get("COMPOSE_FILE") == Some("compose.yaml:compose.secrets.yaml"),
        "COMPOSE_FILE: {:?}",
        made.get("COMPOSE_FILE")
    );

    let stack = Stack::up(Replicas { api: 1, db: 1, logging: 1 }, |settings| {
        for (name, value) in made.secrets() {
            settings.set(name, value);
        }
        settings.set("MERCH_SECRETS_DIR", &secrets.display().to_string());
    })
    .await?;
    let worked = trade_and_change(&stack, &secrets, &values).await;
    worked.with_context(|| format!("the logs are in {}", stack.keep_logs("secrets").display()))
}

async fn trade_and_change(
    stack: &Stack,
    secrets: &Path,
    values: &BTreeMap<String, String>,
) -> Result<()> {
    let client = stack.client()?;
    let buyer = Buyer::enrol(&client).await?;
    let order = json!({ "product_id": 1, "quantity": 1 });
    client.post("/orders").bearer(&buyer.token).json(&order).send().await?.expect(201)?;
    stack.command("make").args(["admin"]).env("ARGS", "restock 1 --add 5").succeed().await?;

    // PostgreSQL's own is its administrator's, over the network, too.
    let login = r#"PGPASSWORD=$(cat /run/secrets/postgres-password) exec psql --host "$(hostname -i)" --username postgres --dbname merch --no-psqlrc --command 'SELECT 1'"#;
    stack.one("postgres").await?.exec(&["sh", "-c", login], "", Duration::from_secs(20)).await?;

    for container in stack.containers(None).await? {
        let (inspected, logs) = (container.inspect().await?.to_string(), container.logs().await?);
        for (name, value) in values.iter().filter(|(_, value)| !value.is_empty()) {
            ensure!(!inspected.contains(value.as_str()), "docker inspect {container} shows {name}");
            ensure!(!logs.contains(value.as_str()), "the log of {container} shows {name}");
        }
        ensure!(
            !logs.contains("other users"),
            "{container} warns of the mode that its secrets have:\n{logs}"
        );
    }

    // As docs/operations.md has it: the file in place, then the server, and nobody restarts.
    // Connections that are there would hide whether the new password is known, so they are ended,
    // and the catalogue has to be there again with new ones.
    let new = random_secret();
    fs::write(secrets.join("database-password"), &new)?;
    stack.psql(&format!("ALTER ROLE merch PASSWORD '{new}'")).await?;
    stack
        .psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'merch'")
        .await?;
    let began = Instant::now();
    let buy = async || {
        client.post("/orders").bearer(&buyer.token).json(&order).send().await?.expect(201).map(drop)
    };
    until("an order", Duration::from_secs(20), buy).await?;
    figure(
        "secrets",
        &format!(
            "sold with the new database password {} after all connections were ended",
            seconds(began.elapsed())
        ),
    );
    let connections =
        stack.psql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'merch'").await?;
    ensure!(connections != "0", "nobody is connected");
    Ok(())
}
