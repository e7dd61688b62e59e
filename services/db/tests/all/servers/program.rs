use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::harness::TIMEOUT;

/// A directory for programs of another user, deleted when it is dropped.
pub(crate) struct Directory {
    dir: TempDir,
    /// Set if the test runs as root, which PostgreSQL and PgBouncer refuse.
    owner: Option<(u32, u32)>,
}

impl Directory {
    pub(crate) fn new() -> Self {
        let number = |of: &[&str]| -> u32 {
            let output = Command::new("id").args(of).output().unwrap();
            String::from_utf8(output.stdout)
                .unwrap()
                .trim()
                .parse()
                .expect("`id` prints a number; the user `nobody` exists")
        };
        let owner =
            (number(&["-u"]) == 0).then(|| (number(&["-u", "nobody"]), number(&["-g", "nobody"])));
        let dir = Self { dir: tempfile::tempdir().unwrap(), owner };
        dir.own(dir.path());
        dir
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Only the user of the programs may read the file.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let file = self.path().join(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        self.own(&file);
        file
    }

    fn own(&self, path: &Path) {
        if let Some((user, group)) = self.owner {
            std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// Runs in this directory as its owner, without the environment variables of PostgreSQL's
    /// programs.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path()).env("HOME", self.path()).env("LC_ALL", "C");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
            command.env_remove(name);
        }
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }
}

/// Ended when it is dropped.
pub(crate) struct Program(Child);

impl Program {
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let log = fs::File::create(log).unwrap();
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}")),
        )
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill")
                .args([signal, &self.0.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    fn ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SIGQUIT ends PostgreSQL and its child processes immediately. Other programs may ignore
        // it.
        if !self.ended() {
            self.signal("-QUIT");
        }
        let end = Instant::now() + Duration::from_secs(2);
        while !self.ended() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        if !self.ended() {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }
}

fn tool(name: &str, arguments: &[&str]) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools").join(name);
    PathBuf::from(
        successful(Command::new("bash").arg(script).args(arguments).output().unwrap()).trim(),
    )
}

fn successful(output: Output) -> String {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Another process may take the port first, so callers retry.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn wait_for(program: &mut Program, what: impl Fn() -> bool) -> bool {
    let end = Instant::now() + TIMEOUT;
    while !what() {
        if program.ended() {
            return false;
        }
        assert!(Instant::now() < end, "a program did not get ready in time");
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

pub(crate) struct Postgres {
    pub(crate) port: u16,
    // Dropped before its directory.
    _program: Program,
    dir: Directory,
}

impl Postgres {
    /// Starts this major version with further settings and `pg_hba.conf`. The administrator is
    /// `merch` with the password `password`. `files` are written to the directory.
    pub(crate) async fn start(
        major: &str,
        settings: &[&str],
        hba: &str,
        files: &[(&str, &str)],
    ) -> Self {
        let (major, hba) = (major.to_owned(), hba.to_owned());
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let files: Vec<(String, String)> = files
            .iter()
            .map(|(name, content)| ((*name).to_owned(), (*content).to_owned()))
            .collect();
        tokio::task::spawn_blocking(move || Self::start_blocking(&major, &settings, &hba, &files))
            .await
            .unwrap()
    }

    fn start_blocking(
        major: &str,
        settings: &[String],
        hba: &str,
        files: &[(String, String)],
    ) -> Self {
        let dir = Directory::new();
        let mut home = tool("postgres-home", &[major]);
        if dir.owner.is_some() {
            // The other user may not be able to read this checkout.
            let copy = dir.path().join("native");
            successful(Command::new("cp").arg("-R").arg(&home).arg(&copy).output().unwrap());
            home = copy;
        }
        let cluster = dir.path().join("cluster");
        let password = dir.write("password", "password");
        let mut initdb = dir.command(&home.join("bin/initdb"));
        initdb.arg("--pgdata").arg(&cluster).arg("--pwfile").arg(&password);
        successful(
            initdb
                .args([
                    "--username=merch",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--no-locale",
                    "--no-sync",
                ])
                .output()
                .unwrap(),
        );
        fs::write(cluster.join("pg_hba.conf"), hba).unwrap();
        for (name, content) in files {
            dir.write(name, content);
        }
        for _ in 0..5 {
            let port = free_port();
            let mut server = dir.command(&home.join("bin/postgres"));
            server.arg("-D").arg(&cluster).args([
                "-p",
                &port.to_string(),
                "-c",
                "listen_addresses=127.0.0.1",
            ]);
            for setting in ["unix_socket_directories=", "fsync=off", "max_connections=100"]
                .into_iter()
                .chain(settings.iter().map(String::as_str))
            {
                server.args(["-c", setting]);
            }
            let log = dir.path().join("server.log");
            let mut program = Program::start(server, &log);
            let ready = || {
                fs::read_to_string(cluster.join("postmaster.pid"))
                    .is_ok_and(|state| state.contains("ready"))
            };
            if wait_for(&mut program, ready) {
                return Self { port, _program: program, dir };
            }
            eprintln!(
                "PostgreSQL {major} did not start on port {port}: {}",
                fs::read_to_string(&log).unwrap()
            );
        }
        panic!("PostgreSQL {major} did not start; its output is above");
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://merch:password@127.0.0.1:{}/postgres", self.port)
    }
}
