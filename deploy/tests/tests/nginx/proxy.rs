//! NGINX from its image, with compose.yaml's restrictions: not root, no capabilities, a read-only
//! file system.

use std::{
    path::Path,
    process::{Command as Process, Output},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use merch_deploy_tests::{
    command::Command, directories::root, settings::free_port, wait::wait_until,
};
use serde_json::Value;

use crate::{client, mock_api::MockReplicas};

/// The image in compose.yaml.
fn image() -> String {
    let compose =
        std::fs::read_to_string(root().join("compose.yaml")).expect("compose.yaml can be read");
    let mut images = compose.lines().filter_map(|line| line.trim().strip_prefix("image: "));
    images
        .find(|image| image.starts_with("nginx:"))
        .expect("compose.yaml has an image of NGINX")
        .to_owned()
}

/// The time limit of a start.
const START: Duration = Duration::from_secs(60);

/// A running NGINX; removed on drop.
pub(crate) struct Proxy {
    container: String,
    pub(crate) port: u16,
    pub(crate) tls_port: u16,
}

impl Proxy {
    /// Starts NGINX in front of these replicas and waits until it is ready.
    pub(crate) async fn start(replicas: &MockReplicas, settings: &[(&str, &str)]) -> Self {
        Self::start_with_tls(replicas, settings, Path::new("/nowhere")).await
    }

    /// Also mounts a directory with a certificate.
    pub(crate) async fn start_with_tls(
        replicas: &MockReplicas,
        settings: &[(&str, &str)],
        tls: &Path,
    ) -> Self {
        let (port, tls_port, status_port) =
            (free_port().unwrap(), free_port().unwrap(), free_port().unwrap());
        let own = [
            ("MERCH_EDGE_HTTP_PORT", port.to_string()),
            ("MERCH_EDGE_TLS_PORT", tls_port.to_string()),
            ("MERCH_EDGE_STATUS_PORT", status_port.to_string()),
            ("MERCH_EDGE_UPSTREAM", format!("api:{}", replicas.port)),
            ("MERCH_EDGE_RESOLVER", replicas.names.address.to_string()),
        ];
        let settings =
            own.iter().map(|(name, value)| (*name, value.as_str())).chain(settings.iter().copied());
        let container = run("--detach", settings, tls).limit(START).succeed().await.unwrap();
        let proxy = Self { container, port, tls_port };
        wait_until("NGINX to be ready", START, async || {
            let path = if replicas.are_listed() { "/readyz" } else { "/livez" };
            let status = client::probe(status_port, path).await.with_context(|| proxy.log())?;
            ensure!(status == 200, "{path} returns {status}");
            Ok(())
        })
        .await
        .unwrap();
        replicas.take();
        proxy
    }

    /// Expects the start to fail. Returns its output.
    pub(crate) async fn start_error(settings: &[(&str, &str)], tls: &Path) -> String {
        let output =
            run("--rm", settings.iter().copied(), tls).limit(START).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{said}");
        said
    }

    pub(crate) async fn get(&self, target: &str) -> client::Response {
        client::send(self.port, "GET", target, "", "").await
    }

    pub(crate) fn log(&self) -> String {
        let Output { stdout, stderr, .. } =
            Process::new("docker").args(["logs", &self.container]).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
    }

    /// The request's line in the access log.
    pub(crate) async fn access_log_line(&self, request_id: &str) -> Value {
        let find = async || {
            let log = self.log();
            let line = log
                .lines()
                .find(|line| line.starts_with('{') && line.contains(request_id))
                .context(log.clone())?;
            Ok(serde_json::from_str(line)?)
        };
        wait_until("the line of the log", Duration::from_secs(10), find).await.unwrap().0
    }

    /// Runs curl in the container, for TLS and HTTP/2.
    pub(crate) async fn curl(&self, arguments: &[&str]) -> Output {
        let exec =
            ["exec", &self.container, "curl", "--silent", "--show-error", "--max-time", "20"];
        Command::new("docker").args(exec.iter().chain(arguments)).output().await.unwrap()
    }

    /// Reloads the configuration and the certificate.
    pub(crate) async fn reload(&self) {
        let reload = [
            "exec",
            &self.container,
            "nginx",
            "-e",
            "/dev/stderr",
            "-c",
            "/tmp/nginx/nginx.conf",
            "-s",
            "reload",
        ];
        Command::new("docker").args(reload).succeed().await.unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("NGINX wrote:\n{}", self.log());
        }
        let removed =
            Process::new("docker").args(["rm", "--force", "--volumes", &self.container]).output();
        assert!(
            removed.is_ok_and(|output| output.status.success()) || std::thread::panicking(),
            "{} was not removed",
            self.container
        );
    }
}

fn run<'a>(how: &str, settings: impl Iterator<Item = (&'a str, &'a str)>, tls: &Path) -> Command {
    let dir = root().join("deploy/nginx");
    let mut words: Vec<String> =
        ["run", how, "--network=host", "--user=101:101", "--read-only", "--cap-drop=ALL"]
            .map(str::to_owned)
            .into();
    words.push("--security-opt=no-new-privileges".to_owned());
    words.extend(
        ["/tmp", "/var/cache/nginx"]
            .map(|path| format!("--tmpfs={path}:uid=101,gid=101,mode=0755")),
    );
    words.extend(
        ["start", "conf"]
            .map(|part| format!("--volume={0}/{part}:/etc/merch/{part}:ro", dir.display())),
    );
    if tls.is_dir() {
        words.push(format!("--volume={}:/etc/nginx/tls:ro", tls.display()));
    }
    words.extend(settings.map(|(name, value)| format!("--env={name}={value}")));
    words.extend(["--entrypoint=/bin/sh".to_owned(), image(), "/etc/merch/start".to_owned()]);
    Command::new("docker").args(words)
}
