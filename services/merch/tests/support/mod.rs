//! Runs the built `merch`, with a data folder of its own and free ports, and waits for what it
//! says.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// The longest that anything here may take: a debug build on a busy machine is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// `merch` with these arguments and nothing of this environment's own settings.
pub(crate) fn merch(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_merch"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MERCH_")) {
        command.env_remove(name);
    }
    command
        .env_remove("RUST_BACKTRACE")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    finish(merch(arguments).spawn().unwrap())
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for the end with [`PATIENCE`].
pub(crate) fn finish(child: Child) -> Output {
    let pid = child.id();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        signal(pid, "-KILL");
        panic!("merch did not end")
    })
}

/// The one sentence of a failed start: exit code 1, nothing else on standard error, no panic.
pub(crate) fn failed_start(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{stderr}");
    let errors: Vec<_> = stderr.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    assert!(stderr.trim_end().ends_with(errors[0]), "the sentence is not the last line: {stderr}");
    errors[0].to_owned()
}

pub(crate) fn signal(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// A store, or one role of it, that runs. Killed if a test ends without [`Running::stop`].
pub(crate) struct Running {
    child: Option<Child>,
    /// What it printed until it was ready.
    pub(crate) printed: String,
}

impl Running {
    /// The whole store, with free ports.
    pub(crate) fn store(data_dir: &Path) -> Self {
        Self::start(&mut merch(&[
            "--data-dir",
            data_dir.to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
        ]))
    }

    /// Starts it and waits until it says that it is ready.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with_stderr(command, Stdio::inherit())
    }

    /// The same, with its log lines going there.
    pub(crate) fn start_with_stderr(command: &mut Command, stderr: impl Into<Stdio>) -> Self {
        let mut child = command.stderr(stderr).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let pid = child.id();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut printed = String::new();
            // The last line of the greeting says how to stop it.
            while !printed.contains("Ctrl-C") && stdout.read_line(&mut printed).unwrap() > 0 {}
            let _ = sender.send(printed);
            // Read on, so that it never writes to a pipe that nobody reads.
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        });
        let Ok(printed) = receiver.recv_timeout(PATIENCE) else {
            signal(pid, "-KILL");
            panic!("it was not ready in time");
        };
        assert!(printed.contains("Ctrl-C"), "it ended: {:?}", child.wait());
        Self { child: Some(child), printed }
    }

    /// The address that it printed for `what`: host:port.
    pub(crate) fn address(&self, what: &str) -> &str {
        let line = self
            .printed
            .lines()
            .find_map(|line| line.trim().strip_prefix(what))
            .unwrap_or_else(|| panic!("no {what} in {}", self.printed));
        // A caution may stand after it.
        let url = line.split_whitespace().next().unwrap_or_default();
        url.trim_start_matches("http://")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn stop(self) -> ExitStatus {
        signal(self.pid(), "-TERM");
        self.ended()
    }

    /// Waits for the end.
    pub(crate) fn ended(mut self) -> ExitStatus {
        finish(self.child.take().unwrap()).status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The URL of an SQLite file, whatever characters its path has.
pub(crate) fn sqlite_url(path: &Path) -> String {
    let mut url = "sqlite://".to_owned();
    for byte in path.to_str().unwrap().bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => url.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => url.push(char::from(byte)),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

/// `run.json`
pub(crate) fn run_json(data_dir: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(data_dir.join("run.json")).unwrap()).unwrap()
}

/// The value of a metric without labels, from an admin port.
pub(crate) fn metric(admin: &str, name: &str) -> Option<f64> {
    let mut connection = TcpStream::connect(admin).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(connection, "GET /metrics HTTP/1.0\r\nhost: {admin}\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// One HTTP request; the status and the body.
pub(crate) fn http(
    address: &str,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> (u16, Value) {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut head = format!("{method} {path} HTTP/1.0\r\nhost: {address}\r\n");
    if let Some(token) = token {
        head.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!(
            "content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        ));
    }
    write!(connection, "{head}\r\n{body}").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        serde_json::from_str(body).unwrap_or_default(),
    )
}
