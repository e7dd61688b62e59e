//! One container of the stack and the faults that tests inject into it.

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{command::Command, wait::wait_until};

/// The limit of one engine command.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(60);

/// A container. The engine's id is stable until it is removed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Container {
    /// Its service in `compose.yaml`.
    pub service: String,
    /// The name that `docker ps` shows.
    pub name: String,
    pub id: String,
}

/// The networks of a disconnected container, to reconnect it under the same names.
#[derive(Debug)]
#[must_use = "a container stays disconnected until it is connected again"]
pub struct Disconnected {
    container: Container,
    networks: Vec<(String, Vec<String>)>,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Runs `docker` with `arguments`.
pub async fn docker(arguments: &[&str]) -> Result<String> {
    Command::new("docker").args(arguments).limit(ENGINE_TIMEOUT).succeed().await
}

/// Lists the containers of a Compose project, also stopped ones, sorted by service and name,
/// without those of `docker compose run`.
pub async fn of_project(project: &str) -> Result<Vec<Container>> {
    let format = r#"{{.Label "com.docker.compose.service"}} {{.Names}} {{.ID}}"#;
    let label = format!("label=com.docker.compose.project={project}");
    let listed = docker(&[
        "ps",
        "--all",
        "--no-trunc",
        "--filter",
        &label,
        "--filter",
        "label=com.docker.compose.oneoff=False",
        "--format",
        format,
    ])
    .await?;
    let mut containers = parse_list(&listed)?;
    containers.sort();
    Ok(containers)
}

fn parse_list(listed: &str) -> Result<Vec<Container>> {
    let line = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [service, name, id] => {
            Ok(Container { service: service.to_owned(), name: name.to_owned(), id: id.to_owned() })
        }
        _ => bail!("docker ps: expected service, name and id, got {line:?}"),
    };
    listed.lines().map(line).collect()
}

impl Container {
    async fn run(&self, words: &[&str]) -> Result<String> {
        docker(&[words, &[self.id.as_str()]].concat()).await
    }

    /// Sends SIGKILL. The container stays down until [`Container::start`].
    pub async fn kill(&self) -> Result<()> {
        self.run(&["kill"]).await.map(drop)
    }

    /// Sends SIGTERM, and SIGKILL after the grace period.
    pub async fn stop(&self) -> Result<()> {
        self.run(&["stop"]).await.map(drop)
    }

    pub async fn start(&self) -> Result<()> {
        self.run(&["start"]).await.map(drop)
    }

    /// Freezes its processes; connections are still accepted but not answered.
    pub async fn pause(&self) -> Result<()> {
        self.run(&["pause"]).await.map(drop)
    }

    /// Reverts [`Container::pause`].
    pub async fn unpause(&self) -> Result<()> {
        self.run(&["unpause"]).await.map(drop)
    }

    /// Disconnects it from all networks: packets to it are lost.
    pub async fn disconnect(&self) -> Result<Disconnected> {
        let inspected = self.inspect().await?;
        let networks = networks(&inspected)?;
        ensure!(!networks.is_empty(), "{self} is in no network");
        for (network, _) in &networks {
            docker(&["network", "disconnect", network, &self.id]).await?;
        }
        Ok(Disconnected { container: self.clone(), networks })
    }

    /// Returns the output of `docker inspect`.
    pub async fn inspect(&self) -> Result<Value> {
        let text = self.run(&["inspect", "--type", "container"]).await?;
        let mut all: Vec<Value> = serde_json::from_str(&text).context("docker inspect")?;
        all.pop().with_context(|| format!("docker inspect {self}: nothing"))
    }

    /// Returns `running`, `paused`, `exited`, …; with a health check, a running container is
    /// `starting`, `healthy` or `unhealthy`.
    pub async fn state(&self) -> Result<String> {
        self.run(&["inspect", "--type", "container", "--format", STATE]).await
    }

    /// Waits until it is healthy. Returns how long that took.
    pub async fn wait_healthy(&self, limit: Duration) -> Result<Duration> {
        let look = async || {
            let state = self.state().await?;
            ensure!(state == "healthy", "it is {state}");
            Ok(())
        };
        Ok(wait_until(&format!("{self} to be healthy"), limit, look).await?.1)
    }

    /// Runs a program in it, with `input` on its standard input.
    pub async fn exec(&self, program: &[&str], input: &str, limit: Duration) -> Result<String> {
        Command::new("docker")
            .args(["exec", "--interactive", &self.id])
            .args(program)
            .input(input)
            .limit(limit)
            .succeed()
            .await
    }

    /// Returns its standard output and standard error.
    pub async fn logs(&self) -> Result<String> {
        let output =
            Command::new("docker").args(["logs", &self.id]).limit(ENGINE_TIMEOUT).output().await?;
        Ok(format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

const STATE: &str = "{{if and .State.Health (eq .State.Status \"running\")}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}";

fn networks(inspected: &Value) -> Result<Vec<(String, Vec<String>)>> {
    let networks = inspected["NetworkSettings"]["Networks"]
        .as_object()
        .context("docker inspect: no networks")?;
    let id = inspected["Id"].as_str().unwrap_or_default();
    let aliases = |network: &Value| {
        let all = network["Aliases"].as_array().map_or(&[][..], Vec::as_slice);
        // The engine adds the short id itself and refuses it as an alias.
        all.iter()
            .filter_map(Value::as_str)
            .filter(|alias| !id.starts_with(alias))
            .map(str::to_owned)
            .collect()
    };
    Ok(networks.iter().map(|(name, network)| (name.clone(), aliases(network))).collect())
}

impl Disconnected {
    /// Reconnects it to its networks, under its names.
    pub async fn connect(self) -> Result<()> {
        for (network, aliases) in &self.networks {
            let aliases = aliases.iter().flat_map(|alias| ["--alias", alias]);
            let words: Vec<&str> = ["network", "connect"]
                .into_iter()
                .chain(aliases)
                .chain([network.as_str(), &self.container.id])
                .collect();
            docker(&words).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn container_list_is_parsed() {
        let listed = "api merch-api-1 0123abc\ndb merch-db-2 4567def";
        let read = parse_list(listed).unwrap();
        assert_eq!(
            read[1],
            Container {
                service: "db".to_owned(),
                name: "merch-db-2".to_owned(),
                id: "4567def".to_owned()
            }
        );
        assert!(parse_list("").unwrap().is_empty());
        assert!(
            parse_list("api 0123abc")
                .unwrap_err()
                .to_string()
                .contains("expected service, name and id")
        );
    }

    #[test]
    fn reconnect_restores_network_aliases() {
        let inspected = json!({
            "Id": "0123456789abcdef",
            "NetworkSettings": { "Networks": {
                "m_front": { "Aliases": ["m-api-1", "api", "0123456789ab"] },
                "m_inner": { "Aliases": null },
            }},
        });
        let front = ("m_front".to_owned(), vec!["m-api-1".to_owned(), "api".to_owned()]);
        assert_eq!(networks(&inspected).unwrap(), [front, ("m_inner".to_owned(), Vec::new())]);
        assert!(networks(&json!({})).is_err());
    }
}
