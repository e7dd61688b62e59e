//! Faults of Kafka.

use std::{fs, sync::PoisonError, time::Duration};

use anyhow::{Context as _, Result, bail};
use merch_test_kafka::Kafka;

use super::Store;

impl Store {
    /// Kills Kafka, waits, and starts it again with its data.
    pub async fn kill_kafka(&self, lasts: Duration) -> Result<()> {
        self.stop_kafka().await?;
        // Its next start replaces the log.
        self.keep_kafka_log()?;
        tokio::time::sleep(lasts).await;
        self.start_kafka().await
    }

    /// Kills Kafka.
    pub async fn stop_kafka(&self) -> Result<()> {
        self.on_kafka(|kafka| kafka.kill(0)).await
    }

    /// Starts Kafka with its data after [`stop_kafka`](Self::stop_kafka).
    pub async fn start_kafka(&self) -> Result<()> {
        self.on_kafka(|kafka| kafka.restart(0)).await
    }

    /// Stops Kafka's process with SIGSTOP, waits, and continues it.
    pub async fn freeze_kafka(&self, lasts: Duration) -> Result<()> {
        self.on_kafka(|kafka| kafka.pause(0)).await?;
        tokio::time::sleep(lasts).await;
        self.on_kafka(|kafka| kafka.resume(0)).await
    }

    async fn on_kafka(&self, act: impl FnOnce(&mut Kafka) + Send + 'static) -> Result<()> {
        let Some(kafka) = self.kafka.clone() else { bail!("the embedded store has no Kafka") };
        let act = move || act(&mut kafka.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(act).await.context("Kafka")
    }

    /// Appends the log of Kafka's running or last process to the one in the run's directory.
    pub(super) fn keep_kafka_log(&self) -> Result<()> {
        let Some(kafka) = &self.kafka else { return Ok(()) };
        let log = kafka.lock().unwrap_or_else(PoisonError::into_inner).log(0);
        let kept = self.machine.directory.join("kafka.log");
        let mut kept = fs::File::options().create(true).append(true).open(kept)?;
        std::io::copy(&mut fs::File::open(log)?, &mut kept)?;
        Ok(())
    }
}
