//! What the operator does: restocks, a migration, backups of the embedded store.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
use tokio::process::Command;

use super::Store;
use crate::readers;

impl Store {
    /// Runs `merch` and waits until it exits.
    ///
    /// # Errors
    /// With its output, if its exit code is not 0.
    pub async fn run(&self, arguments: &[&str], envs: &[(&str, &str)]) -> Result<String> {
        let mut command = Command::new(&self.machine.merch);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MERCH_")) {
            command.env_remove(name);
        }
        command.args(arguments).envs(envs.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_secs(60), command.output())
            .await
            .with_context(|| format!("merch {arguments:?} did not end in 60 s"))?
            .with_context(|| format!("{} cannot be started", self.machine.merch.display()))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "merch {arguments:?}: {}: {stderr}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Adds pieces to a product, as the operator does.
    pub async fn restock(
        &self,
        product: i64,
        pieces: i64,
        key: &str,
        replica: usize,
    ) -> Result<()> {
        self.change_stock(product, "--add", pieces, key, replica).await
    }

    /// Replaces the stock of a product, as the operator does.
    pub async fn set_stock(&self, product: i64, pieces: i64, key: &str) -> Result<()> {
        self.change_stock(product, "--set", pieces, key, 0).await
    }

    async fn change_stock(
        &self,
        product: i64,
        change: &str,
        pieces: i64,
        key: &str,
        replica: usize,
    ) -> Result<()> {
        let (product, pieces) = (product.to_string(), pieces.to_string());
        let arguments = ["admin", "restock", &product, change, &pieces, "--key", key, "--json"];
        let proxies = self.proxies("operator -> ");
        if proxies.is_empty() {
            let data_dir = self.data_dir().display().to_string();
            self.run(&arguments, &[("MERCH_DATA_DIR", &data_dir)]).await?;
        } else {
            let endpoint = format!("http://{}", proxies[replica % proxies.len()]);
            let token = "0123456789abcdef0123456789abcdef-chaos";
            self.run(&arguments, &[("MERCH_DB_ENDPOINT", &endpoint), ("MERCH_ADMIN_TOKEN", token)])
                .await?;
        }
        Ok(())
    }

    /// Migrates the schema of PostgreSQL as a later release would: it adds a table, a column of
    /// each large table, and an index. The number makes their names unique.
    pub async fn migrate(&self, number: u128) -> Result<()> {
        let database = readers::connect(&self.database_url().await).await?;
        let name = format!("m9999_{number:012}_chaos");
        let sql = format!(
            "SET LOCAL lock_timeout = '2s'; \
             CREATE TABLE {name} (id int PRIMARY KEY); \
             ALTER TABLE orders ADD COLUMN {name} text; \
             ALTER TABLE users ADD COLUMN {name} int NOT NULL DEFAULT 7; \
             CREATE INDEX ix_{name} ON products (stock); \
             INSERT INTO seaql_migrations (version, applied_at) VALUES ('{name}', 0)"
        );
        for _ in 0..20 {
            let transaction = database.begin().await?;
            // Without the lock, it is repeated, like each migration.
            if transaction.execute_unprepared(&sql).await.is_ok() {
                transaction.commit().await?;
                // The program accepts the newer schema and does nothing.
                self.run(&["migrate", "--database-url", &self.database_url().await], &[]).await?;
                return Ok(());
            }
            transaction.rollback().await?;
        }
        bail!("the schema could not be migrated in 20 attempts: its tables stayed locked")
    }

    /// Writes a backup of an embedded store.
    pub async fn backup_embedded(&self, file: &Path) -> Result<()> {
        let data_dir = self.data_dir().display().to_string();
        self.run(&["backup", &file.display().to_string()], &[("MERCH_DATA_DIR", &data_dir)])
            .await?;
        Ok(())
    }

    /// Replaces a stopped embedded store by a backup.
    pub async fn restore_embedded(&self, file: &Path) -> Result<()> {
        let data_dir = self.data_dir().display().to_string();
        let arguments = ["restore", "--replace", &file.display().to_string()];
        self.run(&arguments, &[("MERCH_DATA_DIR", &data_dir)]).await?;
        Ok(())
    }
}
