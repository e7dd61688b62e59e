//! One container of the stack, and what can be done to it.

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{command::Command, wait::until};

/// How long the engine may take for one order.
const ORDER: Duration = Duration::from_secs(60);

/// A container, by the engine's id, which it keeps until it is removed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Container {
    /// The service of `compose.yaml` that it belongs to.
    pub service: String,
    /// As `docker ps` shows it.
    pub name: String,
    /// The engine's id, in full.
    pub id: String,
}

/// The networks that a container was taken from, to give them back with the names it had there.
#[derive(Debug)]
#[must_use = "a container stays disconnected until it is connected again"]
pub struct Disconnected {
    container: Container,
    /// Network and the container's aliases there.
    networks: Vec<(String, Vec<String>)>,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Runs `docker` with `arguments`.
///
/// # Errors
/// When it ends with another code than 0, with all that it said.
pub async fn docker(arguments: &[&str]) -> Result<String> {
    Command::new("docker").args(arguments).limit(ORDER).succeed().await
}

/// The containers of a Compose project, stopped ones too, sorted by service and name; those of
/// `docker compose run` are left out.
///
/// # Errors
/// When the engine does not answer.
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
    async fn order(&self, words: &[&str]) -> Result<String> {
        docker(&[words, &[self.id.as_str()]].concat()).await
    }

    /// SIGKILL: no word to anybody. It stays down until [`Container::start`].
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn kill(&self) -> Result<()> {
        self.order(&["kill"]).await.map(drop)
    }

    /// SIGTERM, and SIGKILL after its grace period.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn stop(&self) -> Result<()> {
        self.order(&["stop"]).await.map(drop)
    }

    /// Starts it again.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn start(&self) -> Result<()> {
        self.order(&["start"]).await.map(drop)
    }

    /// Freezes all its processes; its address stays and takes connections, and nobody answers.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn pause(&self) -> Result<()> {
        self.order(&["pause"]).await.map(drop)
    }

    /// The opposite of [`Container::pause`].
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn unpause(&self) -> Result<()> {
        self.order(&["unpause"]).await.map(drop)
    }

    /// Takes it from all its networks: what is sent to it is lost without an answer.
    ///
    /// # Errors
    /// When the engine refuses.
    pub async fn disconnect(&self) -> Result<Disconnected> {
        let inspected = self.inspect().await?;
        let networks = networks(&inspected)?;
        ensure!(!networks.is_empty(), "{self} is in no network");
        for (network, _) in &networks {
            docker(&["network", "disconnect", network, &self.id]).await?;
        }
        Ok(Disconnected { container: self.clone(), networks })
    }

    /// What `docker inspect` says of it.
    ///
    /// # Errors
    /// When there is no such container any more.
    pub async fn inspect(&self) -> Result<Value> {
        let text = self.order(&["inspect", "--type", "container"]).await?;
        let mut all: Vec<Value> = serde_json::from_str(&text).context("docker inspect")?;
        all.pop().with_context(|| format!("docker inspect {self}: nothing"))
    }

    /// `running`, `paused`, `exited`, …; a running one that has a health check is `starting`,
    /// `healthy` or `unhealthy`.
    ///
    /// # Errors
    /// When there is no such container any more.
    pub async fn state(&self) -> Result<String> {
        self.order(&["inspect", "--type", "container", "--format", STATE]).await
    }

    /// Waits until it is healthy and answers with how long that took.
    ///
    /// # Errors
    /// When it is not within `limit`.
    pub async fn healthy(&self, limit: Duration) -> Result<Duration> {
        let look = async || {
            let state = self.state().await?;
            ensure!(state == "healthy", "it is {state}");
            Ok(())
        };
        Ok(until(&format!("{self} to be healthy"), limit, look).await?.1)
    }

    /// Runs a program in it, with `input` on its standard input.
    ///
    /// # Errors
    /// When it fails, with all that it said.
    pub async fn exec(&self, program: &[&str], input: &str, limit: Duration) -> Result<String> {
        Command::new("docker")
            .args(["exec", "--interactive", &self.id])
            .args(program)
            .input(input)
            .limit(limit)
            .succeed()
            .await
    }

    /// All that it has written to standard output and standard error.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn logs(&self) -> Result<String> {
        let output = Command::new("docker").args(["logs", &self.id]).limit(ORDER).output().await?;
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
        // The engine adds the short id by itself, and refuses nothing else.
        all.iter()
            .filter_map(Value::as_str)
            .filter(|alias| !id.starts_with(alias))
            .map(str::to_owned)
            .collect()
    };
    Ok(networks.iter().map(|(name, network)| (name.clone(), aliases(network))).collect())
}

impl Disconnected {
    /// Puts it back where it was, under its names.
    ///
    /// # Errors
    /// When the engine refuses.
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
    fn what_the_engine_lists_is_read() {
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
    fn a_container_gets_back_the_names_that_it_had_in_each_network() {
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
