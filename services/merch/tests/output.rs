//! Every subcommand with a standard output that is full, closed, or a pipe without a reader.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![cfg(target_os = "linux")] // /dev/full

mod support;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead as _, BufReader, ErrorKind, PipeReader, PipeWriter, Read as _, Write as _},
    net::TcpListener,
    os::{
        fd::AsRawFd as _,
        unix::{fs::OpenOptionsExt as _, process::ExitStatusExt as _},
    },
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use tempfile::tempdir;

use support::{
    Running, TIMEOUT, finish, http, merch, run, run_json, signal, startup_error, wait_until,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    /// A full disk (`/dev/full`).
    Full,
    /// Its reader has closed it, as `| head -1` does.
    Unread,
    /// `>&-`
    Closed,
    /// A full pipe with a reader that does not read; for commands that end on signals.
    Stalled,
}

/// The size of a page of a pipe's buffer.
const PAGE: usize = 4096;

fn full_pipe() -> (PipeReader, PipeWriter) {
    const NONBLOCK: i32 = 0o4000;
    let (reader, writer) = std::io::pipe().unwrap();
    // A separate open file description, so that the returned writer blocks.
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let mut filler = File::options().write(true).custom_flags(NONBLOCK).open(path).unwrap();
    let error = loop {
        if let Err(error) = filler.write(&[b'x'; PAGE]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    (reader, writer)
}

fn has_room(writer: &PipeWriter) -> bool {
    let mut fds = [PollFd::new(writer, PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec::default())).unwrap();
    fds[0].revents().contains(PollFlags::OUT)
}

/// The streams that every command handles.
const STREAMS: [Stream; 3] = [Stream::Full, Stream::Unread, Stream::Closed];

impl Stream {
    fn open(self) -> Stdio {
        match self {
            Self::Full => File::options().write(true).open("/dev/full").unwrap().into(),
            Self::Unread => std::io::pipe().unwrap().1.into(),
            // The shell closes it.
            Self::Closed => Stdio::null(),
            Self::Stalled => {
                let (reader, writer) = full_pipe();
                // Open, unread, until the test program ends.
                std::mem::forget(reader);
                writer.into()
            }
        }
    }
}

/// Returns a command with these streams; `None` is a pipe that the test reads.
fn with_streams(arguments: &[&str], out: Option<Stream>, err: Option<Stream>) -> Command {
    let plain = merch(arguments);
    let redirected = match (out, err) {
        (Some(Stream::Closed), Some(Stream::Closed)) => "exec \"$@\" >&- 2>&-",
        (Some(Stream::Closed), _) => "exec \"$@\" >&-",
        (_, Some(Stream::Closed)) => "exec \"$@\" 2>&-",
        _ => "exec \"$@\"",
    };
    let mut command = Command::new("sh");
    command
        .args(["-c", redirected, "sh"])
        .arg(plain.get_program())
        .args(plain.get_args())
        .stdin(Stdio::null());
    for (name, _) in plain.get_envs() {
        command.env_remove(name);
    }
    command
        .stdout(out.map_or_else(Stdio::piped, Stream::open))
        .stderr(err.map_or_else(Stdio::piped, Stream::open));
    command
}

fn run_with(arguments: &[&str], out: Option<Stream>, err: Option<Stream>) -> Output {
    finish(with_streams(arguments, out, err).spawn().unwrap())
}

enum Effect<'a> {
    ReadOnly,
    /// The error message contains this.
    Change(&'a str),
}

fn check(arguments: &[&str], effect: &Effect<'_>, out: Stream) {
    let output = run_with(arguments, Some(out), None);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let context = format!("{arguments:?}, {out:?}: {:?}, {stderr}", output.status);
    assert!(!stderr.contains("panicked") && !stderr.contains("a bug"), "{context}");
    let errors: Vec<&str> =
        stderr.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    if out != Stream::Full {
        assert_eq!((output.status.code(), errors.len()), (Some(0), 0), "{context}");
        return;
    }
    assert_eq!((output.status.code(), errors.len()), (Some(1), 1), "{context}");
    assert!(errors[0].contains("No space left on device"), "{context}");
    match effect {
        Effect::ReadOnly => assert!(
            errors[0].starts_with("the output cannot be written to standard output"),
            "{context}"
        ),
        Effect::Change(done) => {
            assert!(
                errors[0].starts_with("the command was carried out")
                    && errors[0].contains("do not run it again"),
                "{context}"
            );
            assert!(
                errors[0].split("Done: ").nth(1).is_some_and(|text| text.contains(done)),
                "no {done}: {context}"
            );
        }
    }
}

/// Starts a store with gRPC ports for other roles.
fn store(data_dir: &Path) -> Running {
    let data_dir = data_dir.to_str().unwrap();
    let any = "127.0.0.1:0";
    Running::start(
        merch(&[
            "--data-dir",
            data_dir,
            "--listen",
            any,
            "--db-listen",
            any,
            "--logging-listen",
            any,
        ])
        .env("MERCH_HASH_COST", "10")
        .env("MERCH_REGISTRATION_ADDRESS_RATE", "100000"),
    )
}

fn stock(api: &str) -> i64 {
    http(api, "GET", "/products/1", None, None).1["stock"].as_i64().unwrap()
}

fn subcommands(arguments: &[&str]) -> BTreeSet<String> {
    let help = String::from_utf8(run(&[arguments, &["--help"]].concat()).stdout).unwrap();
    let commands = help.split("Commands:\n").nth(1).unwrap();
    // Continuation lines are indented further.
    let names = commands.lines().take_while(|line| line.starts_with("  ") || line.is_empty());
    names
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect()
}

#[test]
fn lost_output_is_reported_with_what_was_done() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    let (data_dir, running) = (data.to_str().unwrap().to_owned(), store(&data));
    let api = running.address("api").to_owned();
    let user = json!({ "sid": "1", "username": "ada", "email": "ada@example.com", "password": "correct horse" });
    assert_eq!(http(&api, "POST", "/users", None, Some(&user)).0, 201);
    let kafka = run_json(&data)["kafka"].as_str().unwrap().to_owned();
    let place = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let first_backup = place("first.tar");
    assert!(run(&["backup", &first_backup, "--data-dir", &data_dir]).status.success());

    // `merch logs` prints nothing without events.
    let deadline = Instant::now() + TIMEOUT;
    while run(&["logs", "--data-dir", &data_dir]).stdout.is_empty() {
        assert!(Instant::now() < deadline, "no event is on the topic");
    }

    let mut tried = BTreeSet::new();
    let mut check = |arguments: &[&str], effect: Effect<'_>, out| {
        let words = arguments
            .iter()
            .take(2)
            .filter(|word| arguments[0] == "admin" || **word == arguments[0]);
        tried.insert(words.copied().collect::<Vec<_>>().join(" "));
        check(arguments, &effect, out);
    };
    for (round, out) in STREAMS.into_iter().enumerate() {
        let in_store = ["--data-dir", &data_dir];
        for arguments in [
            &["health"][..],
            &["logs"],
            &["logs", "--json"],
            &["top", "--once"],
            &["migrate", "--status"],
        ] {
            check(&[arguments, &in_store].concat(), Effect::ReadOnly, out);
        }
        for arguments in [
            &["sql", "SELECT 1"][..],
            &["sql", "--json", "SELECT id FROM products"],
            &["admin", "list-users"],
            &["admin", "list-users", "--json"],
        ] {
            check(&[arguments, &in_store].concat(), Effect::ReadOnly, out);
        }
        for command in [
            &["--help"][..],
            &["-h"],
            &["--version"],
            &["help"],
            &["help", "admin"],
            &["api", "--help"],
            &["admin", "restock", "--help"],
        ] {
            check(command, Effect::ReadOnly, out);
        }

        let before = stock(&api);
        check(
            &[&["admin", "restock", "1", "--add", "1"], &in_store[..]].concat(),
            Effect::Change("product 1: +1 pieces"),
            out,
        );
        check(
            &[&["admin", "restock", "1", "--add", "1", "--json"], &in_store[..]].concat(),
            Effect::Change("product 1: +1 pieces"),
            out,
        );
        assert_eq!(stock(&api), before + 2, "each was done once");
        check(
            &[&["admin", "set-price", "1", "4999"], &in_store[..]].concat(),
            Effect::Change("product 1 now costs 49.99"),
            out,
        );
        check(
            &[&["admin", "deactivate", "ada"], &in_store[..]].concat(),
            Effect::Change("ada ("),
            out,
        );
        check(
            &[&["admin", "revoke-tokens", "--everyone"], &in_store[..]].concat(),
            Effect::Change("the tokens of"),
            out,
        );
        let write = "UPDATE products SET stock = stock + 1 WHERE id = 2 RETURNING id; UPDATE \
                     products SET stock = stock + 1 WHERE id = 1";
        for json in [&[][..], &["--json"]] {
            let before = stock(&api);
            check(
                &[&["sql", "--write", write], json, &in_store].concat(),
                Effect::Change("every statement was run"),
                out,
            );
            assert_eq!(stock(&api), before + 1, "also the statements after the first lost line");
        }
        let backup = place(&format!("backup-{round}.tar"));
        check(&["backup", &backup, "--data-dir", &data_dir], Effect::Change(&backup), out);
        assert!(Path::new(&backup).exists());
        let restored = place(&format!("restored-{round}"));
        check(
            &["restore", &first_backup, "--data-dir", &restored],
            Effect::Change("restored the state of"),
            out,
        );
        check(
            &["restore", &first_backup, "--replace", "--data-dir", &restored],
            Effect::Change("The previous files are in"),
            out,
        );
        let migrated = place(&format!("migrated-{round}"));
        check(&["migrate", "--data-dir", &migrated], Effect::Change("applied "), out);
        check(&["migrate", "--data-dir", &migrated], Effect::ReadOnly, out);
        check(&["topic", "--kafka-brokers", &kafka], Effect::Change("log-channel"), out);
        let pki = place(&format!("pki-{round}"));
        check(&["pki", "init", "--pki-dir", &pki], Effect::Change(&pki), out);
        check(&["pki", "renew", "--pki-dir", &pki], Effect::Change(&pki), out);
    }

    // New commands have to be added to this test.
    let mut all = subcommands(&[]);
    all.extend(subcommands(&["admin"]).into_iter().map(|name| format!("admin {name}")));
    for not_a_command_itself in ["admin", "admin help"] {
        all.remove(not_a_command_itself);
    }
    for role in ["api", "db", "logging"] {
        assert!(all.remove(role), "{role} is tried in another test");
    }
    let missing: Vec<_> = all.difference(&tried).collect();
    assert!(missing.is_empty(), "not tried: {missing:?}");
    assert_eq!(running.stop().code(), Some(0));
}

#[test]
fn lost_standard_error_does_not_change_exit_codes() {
    let dir = tempdir().unwrap();
    let missing = dir.path().join("nowhere").to_str().unwrap().to_owned();
    for err in STREAMS {
        for (arguments, code) in [
            (&["health", "--data-dir", &missing][..], 1),
            (&["logs", "--data-dir", &missing], 1),
            (&["admin", "list-users", "--data-dir", &missing], 1),
            (&["sql", "--data-dir", &missing, "SELECT 1"], 1),
            (&["api", "--data-dir", &missing], 1),
            (&["topic", "--kafka-brokers", "unused"], 2),
            (&["nonsense"], 2),
            (&["--version"], 0),
        ] {
            let output = run_with(arguments, None, Some(err));
            assert_eq!(output.status.code(), Some(code), "{arguments:?} {err:?}: {output:?}");
        }
        let output = run_with(&["health", "--data-dir", &missing], Some(err), Some(err));
        assert_eq!(output.status.code(), Some(1), "{err:?}: {output:?}");
        let output = run_with(&["--help"], Some(Stream::Full), Some(err));
        assert_eq!(output.status.code(), Some(1), "{err:?}: {output:?}");
    }
}

/// Returns the body of `/readyz`.
fn wait_until_ready(admin: &str) -> Value {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if std::net::TcpStream::connect(admin).is_ok() {
            let (status, body) = http(admin, "GET", "/readyz", None, None);
            if status == 200 {
                return body;
            }
        }
        assert!(Instant::now() < deadline, "nothing is ready at {admin}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn roles_keep_serving_without_output() {
    let dir = tempdir().unwrap();
    let running = store(&dir.path().join("data"));
    let addresses = run_json(&dir.path().join("data"));
    let address = |name: &str| addresses[name].as_str().unwrap().to_owned();
    let key = dir.path().join("key");
    std::fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
    thread::scope(|scope| {
        for streams in [
            (Stream::Full, Stream::Full),
            (Stream::Unread, Stream::Unread),
            (Stream::Closed, Stream::Closed),
            (Stream::Full, Stream::Unread),
            (Stream::Stalled, Stream::Stalled),
        ] {
            let (address, dir, key) = (&address, &dir, &key);
            scope.spawn(move || {
                for role in ["", "db", "logging", "api"] {
                    let data = dir.path().join(format!("{role}-{streams:?}"));
                    let data = data.to_str().unwrap();
                    let free =
                        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
                    let (any, db, logging, kafka) =
                        ("127.0.0.1:0", address("db"), address("logging"), address("kafka"));
                    let settings = match role {
                        "" => vec!["--data-dir", data, "--listen", any],
                        "db" => {
                            assert!(run(&["migrate", "--data-dir", data]).status.success());
                            vec![
                                role,
                                "--data-dir",
                                data,
                                "--db-listen",
                                any,
                                "--logging-endpoint",
                                &logging,
                            ]
                        }
                        "logging" => vec![role, "--logging-listen", any, "--kafka-brokers", &kafka],
                        _ => vec![
                            role,
                            "--data-dir",
                            data,
                            "--listen",
                            any,
                            "--db-endpoint",
                            &db,
                            "--logging-endpoint",
                            &logging,
                            "--jwt-key-file",
                            key.to_str().unwrap(),
                        ],
                    };
                    let mut command = with_streams(
                        &[&settings[..], &["--admin-listen", &free]].concat(),
                        Some(streams.0),
                        Some(streams.1),
                    );
                    let child = command.env("MERCH_HASH_COST", "10").spawn().unwrap();
                    drop(command);
                    wait_until_ready(&free);
                    // By now, a failure to print the addresses would have ended the role.
                    let health = run(&["health", "--admin-listen", &free]);
                    assert!(health.status.success(), "{role} {streams:?}: {health:?}");
                    signal(child.id(), "-TERM");
                    assert_eq!(finish(child).status.code(), Some(0), "{role} {streams:?}");
                }
            });
        }
    });
    assert_eq!(running.stop().code(), Some(0));
}

/// Adds events until `merch logs` prints more than `bytes` bytes. Returns its output.
fn fill_topic(api: &str, data_dir: &str, bytes: usize) -> Vec<u8> {
    let users = bytes / 100 + 1;
    for number in 0..users {
        let name = format!("buyer{number}");
        let user = json!({ "sid": name, "username": name, "email": format!("{name}@example.com"), "password": "correct horse" });
        assert_eq!(http(api, "POST", "/users", None, Some(&user)).0, 201);
    }
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let lines = run(&["logs", "--data-dir", data_dir]).stdout;
        let registered = lines
            .split(|byte| *byte == b'\n')
            .filter(|line| line.windows(15).any(|word| word == b"user_registered"));
        if registered.count() == users {
            assert!(lines.len() > bytes, "{} bytes", lines.len());
            return lines;
        }
        assert!(Instant::now() < deadline, "the events are not on the topic");
    }
}

#[test]
fn signals_end_commands_with_stalled_output() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    let (data_dir, running) = (data.to_str().unwrap(), store(&data));
    fill_topic(running.address("api"), data_dir, 2 * PAGE);
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    // A frame exceeds a page.
    let many = vec![unused; 200].join(",");
    let logs = &["logs", "--follow", "--data-dir", data_dir][..];
    let (top, once) = (&["top", "--admin", &many][..], &["top", "--once", "--admin", &many][..]);
    thread::scope(|scope| {
        for (arguments, name, expected) in [
            (logs, "-TERM", (Some(0), None)),
            (logs, "-INT", (Some(0), None)),
            (top, "-TERM", (Some(0), None)),
            (top, "-INT", (Some(0), None)),
            // Not SIGINT: background shells ignore it, and children inherit that. `--once` prints
            // nothing before its end, so it ends by the signal.
            (once, "-TERM", (None, Some(15))),
        ] {
            scope.spawn(move || {
                let (mut reader, writer) = full_pipe();
                reader.read_exact(&mut [0; PAGE]).unwrap();
                assert!(has_room(&writer));
                let child = merch(arguments).stdout(writer.try_clone().unwrap()).spawn().unwrap();
                // The command has filled the last page and blocks on the next write.
                wait_until("the output is stalled", || !has_room(&writer));
                signal(child.id(), name);
                let output = finish(child);
                assert_eq!(
                    (output.status.code(), output.status.signal()),
                    expected,
                    "{arguments:?} {name}: {output:?}"
                );
                assert!(output.stderr.is_empty(), "{arguments:?} {name}: {output:?}");
            });
        }
    });
    assert_eq!(running.stop().code(), Some(0));
}

#[test]
fn follow_ends_when_the_reader_closes() {
    let dir = tempdir().unwrap();
    let data = dir.path().join("data");
    let (data_dir, running) = (data.to_str().unwrap(), store(&data));
    let lines = fill_topic(running.address("api"), data_dir, 0);
    let mut child = merch(&["logs", "--follow", "--data-dir", data_dir]).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..lines.iter().filter(|byte| **byte == b'\n').count() {
        assert!(reader.read_line(&mut String::new()).unwrap() > 0);
    }
    // Everything is written, so no further write detects the closed pipe.
    drop(reader);
    let output = finish(child);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(running.stop().code(), Some(0));
}

#[test]
fn failed_statement_reports_earlier_outcomes() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    assert!(run(&["migrate", "--data-dir", data_dir]).status.success());
    let add = |number: u32| format!("UPDATE products SET stock = stock + {number} WHERE id = 1");
    let conflict = "INSERT OR ROLLBACK INTO products SELECT * FROM products";
    let (one, two, three) = (add(1), add(2), add(3));
    let mut expected = 500;
    for (text, end, added) in [
        ("bogus".to_owned(), "syntax error", 0),
        (format!("{one}; bogus"), "syntax error; 1 statement before it was carried out", 1),
        (
            format!("{one}; {two}; bogus"),
            "syntax error; 2 statements before it were carried out",
            3,
        ),
        (format!("BEGIN; {one}; COMMIT; bogus"), "; 3 statements before it were carried out", 1),
        (format!("BEGIN; {one}; {two}; bogus"), "; 3 statements before it were rolled back", 0),
        (
            format!("/* all */ SAVEPOINT a; {one}; bogus"),
            "; 2 statements before it were rolled back",
            0,
        ),
        (
            format!("{one}; begin; {two}; {three}; bogus"),
            "; 1 statement before it was carried out, 3 were rolled back",
            1,
        ),
        (
            format!("BEGIN; {one}; ROLLBACK; {two}; bogus"),
            "; 1 statement before it was carried out, 3 were rolled back",
            2,
        ),
        (format!("BEGIN; {one}; {conflict}"), "; 2 statements before it were rolled back", 0),
        (
            format!(
                "{one}; UPDATE products SET stock = stock + 1 WHERE id = 1 RETURNING CAST(x'ff' AS \
                 TEXT)"
            ),
            "; 1 statement before it was carried out",
            2,
        ),
    ] {
        for (json, out) in [(&[][..], None), (&["--json"], None), (&[], Some(Stream::Full))] {
            let output = run_with(
                &[&["sql", "--write", &text, "--data-dir", data_dir], json].concat(),
                out,
                None,
            );
            let message = startup_error(&output);
            assert!(message.ends_with(end), "{text}: {message}");
            if text.contains("RETURNING") {
                assert!(
                    message.starts_with(
                        "the statement was run, but a value of its result cannot be decoded"
                    ),
                    "{message}"
                );
            }
            expected += added;
            let found = run(&[
                "sql",
                "--json",
                "SELECT stock FROM products WHERE id = 1",
                "--data-dir",
                data_dir,
            ])
            .stdout;
            assert_eq!(
                String::from_utf8(found).unwrap(),
                format!("{{\"stock\":{expected}}}\n"),
                "{text}"
            );
        }
    }
    let message = startup_error(&run(&["sql", "SELECT 1; bogus", "--data-dir", data_dir]));
    assert!(message.ends_with("syntax error"), "{message}");
}
