//! Runs the built `merch` with its own data directory and free ports.
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

/// Debug builds on a busy machine are slow.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);

/// Without this environment's settings.
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

pub(crate) fn run(arguments: &[&str]) -> Output {
    finish(merch(arguments).spawn().unwrap())
}

pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < end, "not within {TIMEOUT:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn finish(child: Child) -> Output {
    let pid = child.id();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    receiver.recv_timeout(TIMEOUT).unwrap_or_else(|_| {
        signal(pid, "-KILL");
        panic!("merch did not end")
    })
}

/// Asserts exit code 1 without a panic. Returns the only error message.
pub(crate) fn startup_error(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{stderr}");
    let errors: Vec<_> = stderr.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    assert!(stderr.trim_end().ends_with(errors[0]), "the message is not the last line: {stderr}");
    errors[0].to_owned()
}

pub(crate) fn signal(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// Killed if a test ends without [`Running::stop`].
pub(crate) struct Running {
    child: Option<Child>,
    /// The output until it was ready.
    pub(crate) printed: String,
}

impl Running {
    pub(crate) fn store(data_dir: &Path) -> Self {
        Self::start(&mut merch(&[
            "--data-dir",
            data_dir.to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
        ]))
    }

    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with_stderr(command, Stdio::inherit())
    }

    /// Starts a command whose log goes to `stderr`.
    pub(crate) fn start_with_stderr(command: &mut Command, stderr: impl Into<Stdio>) -> Self {
        let mut child = command.stderr(stderr).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let pid = child.id();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut printed = String::new();
            // The last line of the announcement.
            while !printed.contains("Ctrl-C") && stdout.read_line(&mut printed).unwrap() > 0 {}
            let _ = sender.send(printed);
            // Keep reading, so that its writes do not block.
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        });
        let Ok(printed) = receiver.recv_timeout(TIMEOUT) else {
            signal(pid, "-KILL");
            panic!("it was not ready in time");
        };
        assert!(printed.contains("Ctrl-C"), "it ended: {:?}", child.wait());
        Self { child: Some(child), printed }
    }

    /// Returns the printed address of `what`: host:port.
    pub(crate) fn address(&self, what: &str) -> &str {
        let line = self
            .printed
            .lines()
            .find_map(|line| line.trim().strip_prefix(what))
            .unwrap_or_else(|| panic!("no {what} in {}", self.printed));
        // A warning may follow.
        let url = line.split_whitespace().next().unwrap_or_default();
        url.trim_start_matches("http://")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Stops with SIGTERM.
    pub(crate) fn stop(self) -> ExitStatus {
        signal(self.pid(), "-TERM");
        self.ended()
    }

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

pub(crate) fn run_json(data_dir: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(data_dir.join("run.json")).unwrap()).unwrap()
}

/// Without labels.
pub(crate) fn metric(admin: &str, name: &str) -> Option<f64> {
    let mut connection = TcpStream::connect(admin).unwrap();
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(connection, "GET /metrics HTTP/1.0\r\nhost: {admin}\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

pub(crate) fn http(
    address: &str,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> (u16, Value) {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
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
