//! Tests errors at the start: one message that states what to do, exit code 1, no panic.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![cfg(unix)]

mod support;

use std::{fs, net::TcpListener};

use tempfile::tempdir;

use support::{merch, run, startup_error};

#[test]
fn port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    for (option, what) in [
        ("--listen", "the api"),
        ("--admin-listen", "the admin server"),
        ("--db-listen", "the db service"),
        ("--logging-listen", "the logging service"),
    ] {
        let mut arguments = vec!["--data-dir", data_dir, option, &address];
        if option != "--listen" {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        let message = startup_error(&run(&arguments));
        assert!(
            message.starts_with(&format!(
                "{what} ({option}) cannot listen on {address}: another program is listening there"
            )),
            "{message}"
        );
    }
    assert!(!dir.path().join("run.json").exists());
}

#[test]
fn unwritable_directory_is_named() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("a-file");
    fs::write(&file, "").unwrap();
    // A file in place of the directory; root ignores modes.
    let message = startup_error(&run(&[
        "--data-dir",
        file.join("data").to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ]));
    assert!(
        message.starts_with("the data directory ")
            && message.contains("--data-dir or MERCH_DATA_DIR"),
        "{message}"
    );
}

#[test]
fn unreachable_database_is_named() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let unreachable = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("postgres://merch:hush-hush@{unreachable}/merch");
    for arguments in [
        &["--listen", "127.0.0.1:0"][..],
        &["db", "--db-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
        &["migrate"],
    ] {
        let mut command = merch(arguments);
        command
            .env("MERCH_DATABASE_URL", &url)
            .env("MERCH_DATA_DIR", data_dir)
            .env("MERCH_DATABASE_PATIENCE", "1s");
        let output = command.output().unwrap();
        let message = startup_error(&output);
        assert!(
            message.contains(&unreachable.to_string()) && !message.contains("hush-hush"),
            "{message}"
        );
    }
    let message = startup_error(&run(&[
        "--data-dir",
        data_dir,
        "--listen",
        "127.0.0.1:0",
        "--database-url",
        "mysql://merch:hush-hush@h/merch",
    ]));
    assert!(
        message.contains("expected postgres://") && !message.contains("hush-hush"),
        "{message}"
    );
}

#[test]
fn unmigrated_schema_is_refused() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let db = [
        "db",
        "--data-dir",
        data_dir,
        "--db-listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
    ];
    let message = startup_error(&run(&db));
    assert!(message.contains("run `merch migrate`"), "{message}");
    assert!(run(&db).stdout.is_empty(), "it said that it was ready");
    let status = run(&["migrate", "--status", "--data-dir", data_dir]);
    assert_eq!(status.status.code(), Some(1), "{status:?}");
    let migrated = run(&["migrate", "--data-dir", data_dir]);
    assert!(migrated.status.success(), "{migrated:?}");
    let again = run(&["migrate", "--data-dir", data_dir]);
    assert!(String::from_utf8(again.stdout).unwrap().contains("up to date"));
    assert!(run(&["migrate", "--status", "--data-dir", data_dir]).status.success());
}

#[test]
fn invalid_signing_key_is_refused() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let key = dir.path().join("key");
    fs::write(&key, "0123456789abcdef0123456789abcdef\n").unwrap();
    let whole = ["--data-dir", data_dir, "--listen", "127.0.0.1:0"];
    let api =
        ["api", "--data-dir", data_dir, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    for arguments in [&whole[..], &api] {
        let message =
            startup_error(&merch(arguments).env("MERCH_JWT_KEY", "hush-hush").output().unwrap());
        assert!(
            message.contains("at least 32 random bytes, got 9;") && !message.contains("hush"),
            "{message}"
        );
        let both = merch(arguments)
            .env("MERCH_JWT_KEY", "0123456789abcdef0123456789abcdef")
            .env("MERCH_JWT_KEY_FILE", &key)
            .output()
            .unwrap();
        assert!(startup_error(&both).starts_with("both MERCH_JWT_KEY"));
        let missing = merch(arguments).env("MERCH_JWT_KEY_FILE", "/nowhere/key").output().unwrap();
        assert!(startup_error(&missing).starts_with(
            "MERCH_JWT_KEY_FILE (--jwt-key-file): the file /nowhere/key cannot be read"
        ));
    }
    let message = startup_error(&run(&api));
    assert!(message.contains("MERCH_JWT_KEY_FILE"), "{message}");
}

#[test]
fn invalid_setting_is_named_with_expected_form() {
    for (name, wrong, expected) in [
        ("MERCH_LISTEN", "8080", "expected an IP address and a port"),
        ("MERCH_HASH_COST", "99", "expected a whole number from 10 to 22"),
        ("MERCH_BODY_LIMIT", "lots", "expected a number of bytes"),
        (
            "MERCH_CORS_ORIGINS",
            "https://shop.example/app",
            "expected origins such as https://shop.example",
        ),
        ("MERCH_REQUEST_TIMEOUT", "soon", "expected a time such as"),
        ("MERCH_KAFKA_BROKERS", "kafka", "expected Kafka's bootstrap servers"),
        ("MERCH_LOG_FORMAT", "xml", "expected `human` or `json`"),
    ] {
        let output = merch(&[]).env(name, wrong).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {stderr}");
        assert!(
            stderr.contains(wrong)
                && stderr.contains(expected)
                && stderr.contains(&format!(
                    "--{}",
                    name["MERCH_".len()..].to_lowercase().replace('_', "-")
                )),
            "{name}: {stderr}"
        );
    }
    let dir = tempdir().unwrap();
    let filter =
        run(&["--data-dir", dir.path().to_str().unwrap(), "--log-filter", "merch_db=loud"]);
    assert!(startup_error(&filter).starts_with(
        "--log-filter (MERCH_LOG_FILTER): the log filter `merch_db=loud` cannot be read"
    ));
}

#[test]
fn every_invalid_variable_is_named_with_its_option() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let mut tried = 0;
    for command in ["", "api", "db", "logging", "migrate", "topic", "logs", "health"] {
        let command: Vec<_> =
            Some(command).filter(|command| !command.is_empty()).into_iter().collect();
        let help = String::from_utf8(run(&[&command[..], &["--help"]].concat()).stdout).unwrap();
        for variable in
            help.split("[env: ").skip(1).map(|rest| &rest[..rest.find(['=', ']']).unwrap()])
        {
            let rubbish = match variable {
                "MERCH_DATA_DIR" => "",
                file if file.ends_with("_FILE") => "",
                "MERCH_LOG_FILTER" => "a=b=c",
                _ => "hush?!",
            };
            let mut merch = merch(&command);
            merch.env("MERCH_DATA_DIR", &data_dir).env("MERCH_KAFKA_BROKERS", "127.0.0.1:1");
            if command == ["api"] && variable != "MERCH_JWT_KEY_FILE" {
                merch.env("MERCH_JWT_KEY", "0123456789abcdef0123456789abcdef");
            }
            let output = merch.env(variable, rubbish).output().unwrap();
            let (stderr, option) = (
                String::from_utf8(output.stderr).unwrap(),
                variable["MERCH_".len()..].to_lowercase().replace('_', "-"),
            );
            assert!(
                matches!(output.status.code(), Some(1 | 2)),
                "{command:?} {variable}: {stderr}"
            );
            for text in [variable, &format!("--{option}"), "expected"] {
                assert!(stderr.contains(text), "{command:?} {variable}: no {text} in: {stderr}");
            }
            let secret = matches!(
                variable,
                "MERCH_JWT_KEY"
                    | "MERCH_KAFKA_PASSWORD"
                    | "MERCH_JWT_VERIFY_KEY"
                    | "MERCH_DATABASE_URL"
            );
            assert!(!secret || !stderr.contains("hush"), "{command:?} {variable}: {stderr}");
            assert!(
                !data_dir.exists(),
                "{command:?} {variable}: the data directory was created before the setting was \
                 checked"
            );
            tried += 1;
        }
    }
    assert!(tried > 50, "only {tried}");
}

#[test]
fn contradicting_settings_are_refused_before_changes() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let key = "0123456789abcdef0123456789abcdef";
    let (file, missing) = (dir.path().join("key"), "/nowhere/key");
    fs::write(&file, key).unwrap();
    let file = file.to_str().unwrap();
    for (command, settings, start) in [
        (
            &[][..],
            &[("MERCH_REQUEST_TIMEOUT", "1s")][..],
            "--request-timeout (MERCH_REQUEST_TIMEOUT) is 1s",
        ),
        (
            &["api"],
            &[("MERCH_GRPC_DEADLINE", "15s"), ("MERCH_JWT_KEY", key)],
            "--request-timeout (MERCH_REQUEST_TIMEOUT) is 15s",
        ),
        (
            &[],
            &[("MERCH_JWT_KEY", key), ("MERCH_JWT_KEY_FILE", file)],
            "both MERCH_JWT_KEY (--jwt-key)",
        ),
        (
            &["api"],
            &[("MERCH_JWT_KEY", key), ("MERCH_JWT_KEY_FILE", file)],
            "both MERCH_JWT_KEY (--jwt-key)",
        ),
        (
            &[],
            &[("MERCH_JWT_KEY_FILE", missing)],
            "MERCH_JWT_KEY_FILE (--jwt-key-file): the file /nowhere/key cannot be read",
        ),
        (
            &["api"],
            &[
                ("MERCH_JWT_KEY", key),
                ("MERCH_JWT_VERIFY_KEY", key),
                ("MERCH_JWT_VERIFY_KEY_FILE", file),
            ],
            "both MERCH_JWT_VERIFY_KEY",
        ),
        (
            &["api"],
            &[("MERCH_JWT_KEY", key), ("MERCH_JWT_VERIFY_KEY_FILE", missing)],
            "MERCH_JWT_VERIFY_KEY_FILE (--jwt-verify-key-file): the file",
        ),
        (&[], &[("MERCH_DATABASE_URL", "")], "--database-url (MERCH_DATABASE_URL): "),
        (
            &["db"],
            &[("MERCH_DATABASE_URL", "mysql://h/merch")],
            "--database-url (MERCH_DATABASE_URL): ",
        ),
        (
            &["migrate"],
            &[("MERCH_DATABASE_URL", "mysql://h/merch")],
            "--database-url (MERCH_DATABASE_URL): ",
        ),
    ] {
        let output = merch(command)
            .env("MERCH_DATA_DIR", &data_dir)
            .envs(settings.iter().copied())
            .output()
            .unwrap();
        let message = startup_error(&output);
        assert!(
            message.starts_with(start) && message.contains("expected"),
            "{command:?} {settings:?}: {message}"
        );
        assert!(!data_dir.exists(), "{command:?} {settings:?}: the data directory was created");
    }
}

#[test]
fn unused_variables_are_logged() {
    let dir = tempdir().unwrap();
    let output = merch(&["--data-dir", dir.path().join("data").to_str().unwrap()])
        .envs([
            ("MERCH_DB_ENDPOINT", "http://db:50051"),
            ("MERCH_HASHCOST", "12"),
            ("MERCH_TOKEN", "x"),
            ("MERCH_JWT_KEY", "short"),
        ])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let warnings: Vec<_> = stderr.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 2, "{stderr}");
    assert!(warnings[0].contains("ignored by the whole store: MERCH_DB_ENDPOINT;"), "{stderr}");
    assert!(warnings[1].contains("misspelt: MERCH_HASHCOST;"), "{stderr}");
}

#[test]
fn help_shows_no_secret() {
    for arguments in
        [&["--help"][..], &["api", "--help"], &["db", "--help"], &["migrate", "--help"]]
    {
        let output = merch(arguments)
            .env("MERCH_JWT_KEY", "hush-hush")
            .env("MERCH_DATABASE_URL", "postgres://u:hush-hush@h/d")
            .output()
            .unwrap();
        assert!(output.status.success());
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("MERCH_") && !help.contains("hush-hush"), "{help}");
    }
}

#[test]
fn health_and_logs_need_a_running_store() {
    let dir = tempdir().unwrap();
    for command in ["health", "logs"] {
        let message = startup_error(&run(&[command, "--data-dir", dir.path().to_str().unwrap()]));
        assert!(message.starts_with("no store runs with the data directory"), "{message}");
    }
    let unreachable = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert!(
        startup_error(&run(&["health", "--admin-listen", &unreachable]))
            .starts_with("no response from the admin address")
    );
}
