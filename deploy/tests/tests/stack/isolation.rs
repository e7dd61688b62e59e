//! Ports, privileges and secrets that must not be visible outside of their containers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, stream};
use merch_deploy_tests::{
    container::docker, directories::root, load::PASSWORD, shared::progress, stack::Stack,
};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use crate::{buyers, with_stack};

/// The services whose `docker inspect` may show a secret: those that use it.
const ALLOWED_SERVICES: [(&str, &[&str]); 5] = [
    ("POSTGRES_PASSWORD", &["postgres"]),
    ("MERCH_DATABASE_PASSWORD", &["postgres", "migrate", "db"]),
    ("MERCH_JWT_KEY", &["api"]),
    ("MERCH_JWT_VERIFY_KEY", &["api"]),
    ("MERCH_ADMIN_TOKEN", &["db"]),
];

/// Scans the open ports of one of the host's addresses.
async fn open_ports(address: &str) -> BTreeSet<u16> {
    let probe = async |port: u16| {
        let connected = timeout(Duration::from_secs(2), TcpStream::connect((address, port))).await;
        connected.is_ok_and(|stream| stream.is_ok()).then_some(port)
    };
    stream::iter(1..=u16::MAX)
        .map(probe)
        .buffer_unordered(512)
        .filter_map(async |port| port)
        .collect()
        .await
}

/// An address of the host that is not loopback, on the interface of the default route.
fn external_address() -> Option<String> {
    // No packet is sent; this only selects a source address.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn only_nginx_is_reachable_from_the_host() {
    with_stack("ports", async |stack: &Stack| {
        let ours: BTreeSet<String> =
            stack.containers(None).await?.into_iter().map(|container| container.id).collect();
        let nginx = stack.container("nginx").await?;
        let port: u16 = stack.url().rsplit(':').next().context("a port")?.parse()?;
        for container in stack.containers(None).await? {
            let inspected = container.inspect().await?;
            ensure!(
                inspected["HostConfig"]["NetworkMode"] != "host",
                "{container} is in the host's network"
            );
            let bindings =
                inspected["HostConfig"]["PortBindings"].as_object().cloned().unwrap_or_default();
            ensure!(
                bindings.is_empty() || container == nginx,
                "{container} publishes {bindings:?}"
            );
            let addresses =
                bindings.values().flat_map(|list| list.as_array().cloned().unwrap_or_default());
            for binding in addresses {
                ensure!(binding["HostIp"] == "127.0.0.1", "{container} listens on {binding}");
            }
        }
        // Other programs may listen here too; count ports that our containers publish.
        let mut found = BTreeSet::new();
        for port in open_ports("127.0.0.1").await {
            let publishers =
                docker(&["ps", "--no-trunc", "--quiet", "--filter", &format!("publish={port}")])
                    .await?;
            if publishers.lines().any(|id| ours.contains(id)) {
                found.insert(port);
            }
        }
        progress(
            "ports",
            &format!("of 65535 ports on loopback, these lead to the stack: {found:?}"),
        );
        ensure!(
            found.contains(&port),
            "the scan has missed NGINX's own port {port}, so it proves nothing"
        );
        let allowed = BTreeSet::from([port, stack.tls_port()]);
        ensure!(
            found.is_subset(&allowed),
            "expected nothing but NGINX's ports {allowed:?}, found {found:?}"
        );
        if let Some(address) = external_address() {
            for port in allowed {
                let refused =
                    timeout(Duration::from_secs(2), TcpStream::connect((address.as_str(), port)))
                        .await;
                ensure!(
                    !refused.is_ok_and(|stream| stream.is_ok()),
                    "port {port} is open at {address}, and not on loopback alone"
                );
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn containers_are_unprivileged_and_read_only() {
    with_stack("hardening", async |stack: &Stack| {
        let helper = stack.container("postgres").await?.inspect().await?["Image"]
            .as_str()
            .context("an image")?
            .to_owned();
        let mut users = BTreeMap::new();
        for container in stack.containers(None).await? {
            let inspected = container.inspect().await?;
            let host = &inspected["HostConfig"];
            let list = |value: &Value| value.as_array().map_or(0, Vec::len);
            ensure!(
                host["ReadonlyRootfs"] == true,
                "{container}: its root file system can be \
                                                     written"
            );
            ensure!(
                host["CapDrop"] == serde_json::json!(["ALL"]) && list(&host["CapAdd"]) == 0,
                "{container}: capabilities {}",
                host["CapAdd"]
            );
            ensure!(host["Privileged"] == false, "{container} is privileged");
            ensure!(
                host["SecurityOpt"].to_string().contains("no-new-privileges"),
                "{container}: {}",
                host["SecurityOpt"]
            );
            ensure!(
                host["Memory"].as_i64().is_some_and(|limit| limit > 0),
                "{container} has no limit of memory"
            );
            ensure!(host["Init"] == true, "{container} has no init");
            ensure!(
                host["LogConfig"]["Config"]["max-size"].is_string(),
                "{container} has no log limit"
            );
            ensure!(host["RestartPolicy"]["Name"] != "no", "{container} has no restart policy");
            let binds = inspected["Mounts"].as_array().cloned().unwrap_or_default();
            let socket = binds.iter().any(|mount| {
                mount["Source"].as_str().is_some_and(|source| source.ends_with("docker.sock"))
            });
            ensure!(!socket, "{container} has the engine's socket");
            if container.state().await? != "healthy" {
                continue; // a one-shot that has ended
            }
            // Read the process uids and the root mount from the kernel.
            let look = "for p in /proc/[0-9]*; do [ \"$(readlink $p/ns/mnt)\" = \"$(readlink \
                        /proc/self/ns/mnt)\" ] || grep -H ^Uid: $p/status; done; grep ' / ' \
                        /proc/1/mounts";
            let pid = format!("container:{}", container.id);
            let seen = docker(&[
                "run",
                "--rm",
                "--network",
                "none",
                "--cap-add",
                "SYS_PTRACE",
                "--pid",
                &pid,
                "--user",
                "0",
                "--entrypoint",
                "bash",
                &helper,
                "-c",
                look,
            ])
            .await?;
            let uids: BTreeSet<&str> = seen
                .lines()
                .filter(|line| line.contains("Uid:"))
                .flat_map(|line| line.split_whitespace().skip(1))
                .collect();
            ensure!(
                !uids.is_empty() && !uids.contains("0"),
                "{container}: its processes run as {uids:?}\n{seen}"
            );
            let root =
                seen.lines().find(|line| line.contains(" / ")).context("no root is mounted")?;
            let options = root.split_whitespace().nth(3).unwrap_or_default();
            ensure!(
                options.split(',').any(|option| option == "ro"),
                "{container}: its root is mounted {options}"
            );
            users.insert(
                container.service.clone(),
                uids.into_iter().map(str::to_owned).collect::<Vec<_>>().join(","),
            );
        }
        ensure!(users.len() == 6, "expected six services that run, got {users:?}");
        progress("hardening", &format!("user ids: {users:?}"));
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn credentials_are_visible_only_to_their_services() {
    with_stack("credentials", async |stack: &Stack| {
        let settings = stack.settings();
        let secrets = settings.secrets();
        for (name, _) in &secrets {
            ensure!(
                ALLOWED_SERVICES.iter().any(|(known, _)| known == name),
                "{name} is a new secret; add the services that may see it to ALLOWED_SERVICES"
            );
        }
        let mut looked = 0;
        for container in stack.containers(None).await? {
            let (inspected, logs) =
                (container.inspect().await?.to_string(), container.logs().await?);
            for (name, value) in &secrets {
                let may = ALLOWED_SERVICES.iter().any(|(known, services)| {
                    known == name && services.contains(&container.service.as_str())
                });
                ensure!(
                    may || !inspected.contains(value),
                    "docker inspect {container} shows {name}"
                );
                ensure!(!logs.contains(value), "the log of {container} shows {name}");
                looked += 2;
            }
            // Also check passwords and token signatures.
            ensure!(!logs.contains(PASSWORD), "the log of {container} shows a buyer's password");
            for buyer in buyers() {
                let signature = buyer.token.rsplit('.').next().unwrap_or(&buyer.token);
                ensure!(!logs.contains(signature), "the log of {container} shows a buyer's token");
            }
        }
        for line in stack.psql("SELECT encode(payload, 'escape') FROM outbox").await?.lines() {
            ensure!(
                !line.contains(PASSWORD) && secrets.iter().all(|(_, value)| !line.contains(value)),
                "an event shows a secret"
            );
        }
        progress("credentials", &format!("{} secrets, {looked} outputs inspected", secrets.len()));
        Ok(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a container engine: make test-compose runs it"]
async fn missing_secrets_fail_with_instructions() {
    with_stack("no .env", async |stack: &Stack| {
        let compose = root().join("compose.yaml");
        // An empty file, because the checkout may have an .env.
        let words = [
            "compose",
            "--env-file",
            "/dev/null",
            "--file",
            &compose.display().to_string(),
            "up",
            "--no-start",
        ];
        let output =
            stack.command("docker").env("COMPOSE_ENV_FILES", "").args(words).output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "expected that it refuses to start without secrets");
        ensure!(said.contains("make env"), "expected a message that says what to do, got: {said}");
        progress("no .env", said.trim());
        Ok(())
    })
    .await;
}
