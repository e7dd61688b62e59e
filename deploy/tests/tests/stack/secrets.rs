//! Secrets as files, from `make env FILES=1` and `compose.secrets.yaml`, on a separate stack.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use merch_deploy_tests::{
    directories::root,
    load::Buyer,
    settings::{Settings, random_secret},
    shared::{format_duration, progress},
    stack::{ReplicaCounts, Stack},
    wait::wait_until,
};
use serde_json::json;

const FILES: [&str; 5] =
    ["admin-token", "database-password", "jwt-key", "jwt-verify-key", "postgres-password"];

/// Runs `make env FILES=1` and reads the resulting `.env`.
fn run_make_env(dir: &Path) -> Result<Settings> {
    let env = dir.join("env");
    let mut make = std::process::Command::new("make");
    make.args(["--silent", "env"]).current_dir(root());
    let said = make
        .env("FILES", "1")
        .env("MERCH_ENV_FILE", &env)
        .env("MERCH_SECRETS_DIR", dir.join("secrets"))
        .output()?;
    ensure!(said.status.success(), "make env FILES=1: {}", String::from_utf8_lossy(&said.stderr));
    Settings::read(&env)
}

/// Reads all files of a directory.
fn read(dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
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
async fn secret_files_stay_out_of_environments_and_rotate_live() {
    let dir = tempfile::tempdir().expect("a directory");
    if let Err(error) = with_files(dir.path()).await {
        panic!("{error:#}");
    }
}

async fn with_files(dir: &Path) -> Result<()> {
    let made = run_make_env(dir)?;
    let secrets = dir.join("secrets");
    let values = read(&secrets)?;
    ensure!(values.keys().eq(FILES), "{:?}", values.keys());
    ensure!(
        fs::metadata(&secrets)?.permissions().mode() & 0o777 == 0o700,
        "other users can read the directory"
    );
    // Random, and too short for the roles to start without the overlay.
    let opens_nothing = |value: &str| {
        value.starts_with("unused-")
            && value.len() == 23
            && !values.values().any(|secret| secret.contains(value))
    };
    ensure!(
        made.secrets().iter().all(|(_, value)| opens_nothing(value)),
        "a secret is also in .env"
    );
    ensure!(
        made.get("COMPOSE_FILE") == Some("compose.yaml:compose.secrets.yaml"),
        "COMPOSE_FILE: {:?}",
        made.get("COMPOSE_FILE")
    );

    let stack = Stack::up(ReplicaCounts { api: 1, db: 1, logging: 1 }, |settings| {
        for (name, value) in made.secrets() {
            settings.set(name, value);
        }
        settings.set("MERCH_SECRETS_DIR", &secrets.display().to_string());
    })
    .await?;
    let worked = order_and_rotate_password(&stack, &secrets, &values).await;
    worked.with_context(|| format!("the logs are in {}", stack.save_logs("secrets").display()))
}

async fn order_and_rotate_password(
    stack: &Stack,
    secrets: &Path,
    values: &BTreeMap<String, String>,
) -> Result<()> {
    let client = stack.client()?;
    let buyer = Buyer::register(&client).await?;
    let order = json!({ "product_id": 1, "quantity": 1 });
    client.post("/orders").bearer(&buyer.token).json(&order).send().await?.expect(201)?;
    stack.command("make").args(["admin"]).env("ARGS", "restock 1 --add 5").succeed().await?;

    // PostgreSQL's superuser password also works over the network.
    let login = r#"PGPASSWORD=$(cat /run/secrets/postgres-password) exec psql --host "$(hostname -i)" --username postgres --dbname merch --no-psqlrc --command 'SELECT 1'"#;
    stack
        .container("postgres")
        .await?
        .exec(&["sh", "-c", login], "", Duration::from_secs(20))
        .await?;

    for container in stack.containers(None).await? {
        let (inspected, logs) = (container.inspect().await?.to_string(), container.logs().await?);
        for (name, value) in values.iter().filter(|(_, value)| !value.is_empty()) {
            ensure!(!inspected.contains(value.as_str()), "docker inspect {container} shows {name}");
            ensure!(!logs.contains(value.as_str()), "the log of {container} shows {name}");
        }
        ensure!(
            !logs.contains("other users"),
            "{container} warns about the mode of its secrets:\n{logs}"
        );
    }

    // As in docs/operations.md: change the file, then the server, without a restart. Existing
    // connections are terminated, because only new ones use the new password.
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
    wait_until("an order", Duration::from_secs(20), buy).await?;
    progress(
        "secrets",
        &format!(
            "sold with the new database password {} after all connections were ended",
            format_duration(began.elapsed())
        ),
    );
    let connections =
        stack.psql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'merch'").await?;
    ensure!(connections != "0", "expected a connection, got none");
    Ok(())
}
