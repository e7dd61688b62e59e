//! A browser application on another origin, with the TypeScript client (`tools/clients
//! typescript`).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use merch_api::Rate;
use merch_test_store::{Database, Options, TestStore};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::script::{run, target};

#[derive(Deserialize)]
struct Report {
    faults: Vec<String>,
    steps: usize,
}

/// The application's page. Browsers need an import map for the bare name `openapi-fetch`.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Another shop</title>
<link rel="icon" href="data:,">
<script type="importmap">{"imports": {"openapi-fetch": "/openapi-fetch.js"}}</script>
</head>
<body></body>
</html>
"#;

/// Returns the files of the application, by path.
///
/// # Panics
/// If the client has not been built.
fn files() -> BTreeMap<&'static str, String> {
    let client = target().join("clients/typescript");
    let read = |path: &str| {
        std::fs::read_to_string(client.join(path)).unwrap_or_else(|error| {
            panic!("{path} of the TypeScript client ({error}); run `tools/clients typescript`")
        })
    };
    [
        ("/shop.html", PAGE.to_owned()),
        ("/js/call.js", read("js/call.js")),
        ("/js/journey.js", read("js/journey.js")),
        ("/openapi-fetch.js", read("node_modules/openapi-fetch/dist/index.mjs")),
    ]
    .into()
}

/// Serves the application until the test ends; returns its origin.
async fn origin(files: &Arc<BTreeMap<&'static str, String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let files = Arc::clone(files);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let files = Arc::clone(&files);
            // A browser may close a connection at any time.
            tokio::spawn(async move { drop(answer(stream, &files).await) });
        }
    });
    origin
}

async fn answer(stream: TcpStream, files: &BTreeMap<&'static str, String>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut rest = String::new();
    while stream.read_line(&mut rest).await? > 2 {
        rest.clear();
    }
    let path = line.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match files.get(path) {
        Some(body) => ("200 OK", body.as_str()),
        None => ("404 Not Found", ""),
    };
    let media_type = if path.ends_with(".js") { "text/javascript" } else { "text/html" };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cross_origin_application_uses_the_store() {
    let files = Arc::new(files());
    let (allowed, other) = (origin(&files).await, origin(&files).await);
    let mut named = Options::default();
    named.cors_origins = format!("https://shop.example, {allowed}").parse().unwrap();
    named.log_ins_per_address = Rate::new(3.try_into().unwrap(), Duration::from_secs(60));
    let mut any = Options::default();
    any.cors_origins = "*".parse().unwrap();
    let (store, open) = tokio::join!(
        TestStore::start_with(Database::Sqlite, named),
        TestStore::start_with(Database::Sqlite, any)
    );
    let Report { faults, steps } =
        run("cors.mjs", &[store.url(), &allowed, &other, open.url()]).await;
    let records = store.finish_unchecked().await;
    open.finish_unchecked().await;
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(steps >= 25, "{steps} operations were to be called");
    let orders = records.iter().filter(|record| record.name() == "order_placed").count();
    assert_eq!(orders, 1, "one order, placed twice with one key");
}
