//! The operations commands against running stores.
#![allow(clippy::unwrap_used, reason = "tests may panic")]
#![cfg(unix)]

mod support;

use std::{
    io::Write as _,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::tempdir;

use support::{Running, finish, http, merch, run, run_json, startup_error};

/// With the cheapest password hashes.
fn store(data_dir: &Path) -> Running {
    Running::start(
        merch(&["--data-dir", data_dir.to_str().unwrap(), "--listen", "127.0.0.1:0"])
            .env("MERCH_HASH_COST", "10"),
    )
}

fn register(api: &str, name: &str) -> (String, String) {
    let user = json!({ "sid": name, "username": name, "email": format!("{name}@example.com"), "password": "correct horse" });
    let (status, user) = http(api, "POST", "/users", None, Some(&user));
    assert_eq!(status, 201, "{user}");
    let (status, token) = http(
        api,
        "POST",
        "/login",
        None,
        Some(&json!({ "username": name, "password": "correct horse" })),
    );
    assert_eq!(status, 200, "{token}");
    (user["id"].as_str().unwrap().to_owned(), token["access_token"].as_str().unwrap().to_owned())
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn objects(output: &Output) -> Vec<Value> {
    text(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn admin_commands_change_a_running_store() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let store = store(dir.path());
    let api = store.address("api").to_owned();
    let key = dir.path().join("admin.key");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let (ada, token) = register(&api, "ada");
    register(&api, "bob");
    let admin =
        |arguments: &[&str]| run(&[&["admin"], arguments, &["--data-dir", data_dir]].concat());

    assert!(
        text(&admin(&["restock", "1", "--add", "50", "--key", "delivery-7"]))
            .contains("+50    550")
    );
    let again = text(&admin(&["restock", "1", "--add", "50", "--key", "delivery-7"]));
    assert!(again.contains("550") && again.contains("nothing was changed"), "{again}");
    assert!(
        startup_error(&admin(&["restock", "1", "--add", "9", "--key", "delivery-7"]))
            .contains("choose another one (--key)")
    );
    let set = objects(&admin(&["restock", "2", "--set", "3", "--json"]));
    assert_eq!(
        set,
        [json!({ "product_id": 2, "stock": 3, "difference": -497, "replayed": false })]
    );
    assert_eq!(http(&api, "GET", "/products/1", None, None).1["stock"], 550);
    assert!(text(&admin(&["set-price", "1", "5999"])).contains("59.99   49.99"));
    assert_eq!(http(&api, "GET", "/products/1", None, None).1["price_cents"], 5999);

    let users = text(&admin(&["list-users", "--prefix", "A"]));
    assert!(
        users.contains(&ada)
            && users.contains("ada@example.com")
            && users.ends_with("(1 user)\n")
            && !users.contains("bob"),
        "{users}"
    );
    assert!(text(&admin(&["list-users", "--limit", "1"])).contains("there are more"));
    assert_eq!(objects(&admin(&["list-users", "--json"])).len(), 2);
    assert!(text(&admin(&["deactivate", "bob"])).contains("is now inactive"));
    assert!(text(&admin(&["deactivate", "bob"])).contains("nothing was changed"));
    assert_eq!(
        objects(&admin(&["list-users", "--active", "false", "--json"]))[0]["username"],
        "bob"
    );
    assert_eq!(http(&api, "GET", "/orders", Some(&token), None).0, 200);
    assert!(text(&admin(&["revoke-tokens", &ada])).contains("revoked the tokens of 1 user"));
    assert_eq!(http(&api, "GET", "/orders", Some(&token), None).0, 401);
    assert_eq!(
        objects(&admin(&["revoke-tokens", "--everyone", "--json"])),
        [json!({ "users": 1 })]
    );

    assert_eq!(
        startup_error(&admin(&["restock", "99", "--add", "1"])),
        "the product does not exist"
    );
    assert_eq!(startup_error(&admin(&["deactivate", "unknown"])), "the user does not exist");
    assert_eq!(
        startup_error(&admin(&["deactivate", "a b"])),
        "user.username: expected 3 to 50 characters of [A-Za-z0-9_.-]"
    );
    for wrong in [
        &["restock", "1"][..],
        &["restock", "1", "--add", "1", "--set", "1"],
        &["set-price", "1", "-5"],
        &["revoke-tokens"],
    ] {
        assert_eq!(admin(wrong).status.code(), Some(2), "{wrong:?}");
    }

    // By address, with the credential from a file or a variable.
    let db = run_json(dir.path())["db"].as_str().unwrap().to_owned();
    let by_file = run(&[
        "admin",
        "list-users",
        "--json",
        "--db-endpoint",
        &db,
        "--admin-token-file",
        key.to_str().unwrap(),
    ]);
    assert_eq!(objects(&by_file).len(), 2);
    let guess = "hush-hush-hush-hush-hush-hush-hush-hush";
    let wrong = merch(&["admin", "list-users", "--db-endpoint", &db])
        .env("MERCH_ADMIN_TOKEN", guess)
        .output()
        .unwrap();
    let message = startup_error(&wrong);
    assert!(message.contains("refused the credential") && !message.contains("hush"), "{message}");
    assert!(
        startup_error(&run(&["admin", "list-users", "--db-endpoint", &db]))
            .contains("MERCH_ADMIN_TOKEN_FILE")
    );
    assert_eq!(store.stop().code(), Some(0));
    assert!(
        startup_error(&admin(&["list-users"])).starts_with("no store runs with the data directory")
    );
}

#[test]
fn db_role_serves_admin_only_with_a_credential() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    assert!(run(&["migrate", "--data-dir", data_dir]).status.success());
    let role = [
        "db",
        "--data-dir",
        data_dir,
        "--db-listen",
        "127.0.0.1:0",
        "--admin-listen",
        "127.0.0.1:0",
        "--drain-timeout",
        "1s",
    ];
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
    let token = token.to_str().unwrap();

    let short = merch(&role).env("MERCH_ADMIN_TOKEN", "hush-hush").output().unwrap();
    let message = startup_error(&short);
    assert!(
        message.contains("at least 32 random bytes, got 9") && !message.contains("hush"),
        "{message}"
    );
    let both = merch(&role)
        .env("MERCH_ADMIN_TOKEN", "x")
        .env("MERCH_ADMIN_TOKEN_FILE", token)
        .output()
        .unwrap();
    assert!(startup_error(&both).starts_with("both MERCH_ADMIN_TOKEN"));

    // An empty variable counts as not set.
    let db = Running::start(merch(&role).env("MERCH_ADMIN_TOKEN", ""));
    let ask = |db: &Running| {
        let endpoint = format!("http://{}", db.address("db"));
        run(&[
            "admin",
            "restock",
            "1",
            "--add",
            "5",
            "--json",
            "--db-endpoint",
            &endpoint,
            "--admin-token-file",
            token,
        ])
    };
    assert!(
        startup_error(&ask(&db))
            .contains("serves no admin calls; start it with MERCH_ADMIN_TOKEN_FILE")
    );
    assert_eq!(db.stop().code(), Some(0));
    let db = Running::start(merch(&role).env("MERCH_ADMIN_TOKEN_FILE", token));
    assert_eq!(objects(&ask(&db))[0]["stock"], 505);
    assert_eq!(db.stop().code(), Some(0));
}

#[test]
fn sql_is_read_only_without_write() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let missing = run(&["sql", "SELECT 1", "--data-dir", data_dir]);
    assert!(startup_error(&missing).contains("does not exist; start `merch`"));
    let store = store(dir.path());
    let (ada, _) = register(store.address("api"), "ada");
    let sql = |arguments: &[&str]| run(&[&["sql", "--data-dir", data_dir], arguments].concat());

    let table = text(&sql(&["SELECT id, username, is_active FROM users; SELECT 1 WHERE 0"]));
    assert_eq!(
        table.lines().collect::<Vec<_>>(),
        [
            "id                                    username  is_active",
            "------------------------------------  --------  ---------",
            &format!("{ada}  ada               1"),
            "(1 row)",
            "(0 rows)"
        ]
    );
    assert_eq!(
        objects(&sql(&["--json", "SELECT id, NULL AS missing, 1.5 AS half FROM users"])),
        [json!({ "id": ada, "missing": null, "half": 1.5 })]
    );
    for writes in [
        "UPDATE products SET stock = 1",
        "PRAGMA query_only = OFF; DELETE FROM orders",
        "CREATE TABLE t (a)",
        "DROP TABLE outbox",
    ] {
        let message = startup_error(&sql(&[writes]));
        assert!(message.contains("use --write"), "{writes}: {message}");
    }
    assert!(startup_error(&sql(&["SELEC"])).contains("near \"SELEC\": syntax error"));
    assert!(
        text(&sql(&["--write", "UPDATE products SET stock = 7 WHERE id = 3"]))
            .contains("(1 row changed)")
    );
    assert_eq!(http(store.address("api"), "GET", "/products/3", None, None).1["stock"], 7);
    assert!(
        startup_error(&sql(&["--write", "UPDATE products SET stock = -1"]))
            .contains("ck_products_stock")
    );

    let mut child =
        merch(&["sql", "--data-dir", data_dir, "--json"]).stdin(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"SELECT count(*) AS n FROM products;\n-- a comment; and\nSELECT 'a;b' AS t;\n")
        .unwrap();
    assert_eq!(objects(&finish(child)), [json!({ "n": 3 }), json!({ "t": "a;b" })]);

    let postgres = merch(&["sql", "SELECT 1"])
        .env("MERCH_DATABASE_URL", "postgres://merch:hush-hush@h/merch")
        .output()
        .unwrap();
    let message = startup_error(&postgres);
    assert!(message.contains("use psql") && !message.contains("hush"), "{message}");
    assert_eq!(store.stop().code(), Some(0));
    assert_eq!(objects(&sql(&["--json", "SELECT count(*) AS n FROM users"])), [json!({ "n": 1 })]);
}

#[test]
fn top_shows_live_and_unreachable_roles() {
    let dir = tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    assert!(
        startup_error(&run(&["top", "--once", "--data-dir", data_dir]))
            .starts_with("no store runs")
    );
    let store = store(dir.path());
    let frame = text(&run(&["top", "--once", "--data-dir", data_dir]));
    for expected in [
        "orders        placed 0.0",
        "failed log-ins 0.0",
        "lag  outbox 0 events, journal 0 events",
        " 1  SUSTech Hoodie          500",
        "api,db,logging",
        "ready",
    ] {
        assert!(frame.contains(expected), "{expected} is not in:\n{frame}");
    }
    assert!(!frame.contains('\u{1b}'), "plain text: {frame:?}");

    // Two of them unreachable.
    let unreachable = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let admin = format!("{},{unreachable},no-such-host.invalid:9101", store.address("admin"));
    let frame = text(&run(&["top", "--once", "--admin", &admin]));
    assert!(
        frame.contains("stock  unknown: --db-endpoint (MERCH_DB_ENDPOINT) is not set"),
        "{frame}"
    );
    assert_eq!(frame.lines().filter(|line| line.contains("DOWN: ")).count(), 2, "{frame}");
    assert_eq!(frame.lines().filter(|line| line.ends_with("  ready")).count(), 1, "{frame}");
    let frame = text(&run(&[
        "top",
        "--once",
        "--admin",
        &admin,
        "--db-endpoint",
        &format!("http://{unreachable}"),
    ]));
    assert!(frame.contains("stock  unknown: "), "{frame}");
    assert_eq!(run(&["top", "--admin", "here"]).status.code(), Some(2));
    assert_eq!(store.stop().code(), Some(0));
}
