//! The environment's proxy: for other hosts, and never for this machine.

use std::process::Output;

use crate::{
    hostile::behind_prefix,
    program::{ended, program, stderr, stdout, store},
};

/// Runs the program with these variables and no other proxy of this environment.
async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = program(arguments);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    ended(command.envs(variables.iter().copied()).spawn().unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_elsewhere_is_tested_through_the_proxy_and_one_here_without() {
    let store = store().await;
    // As a proxy it is sent whole URLs, and forwards their paths to the store.
    let forwarding = behind_prefix(store.url()).await;
    let proxy = forwarding.trim_end_matches("/merch/");
    let elsewhere = ["--url", "http://store.example/merch", "--only", "greet", "--timeout", "5"];
    for variable in ["http_proxy", "ALL_PROXY"] {
        let output = run(&elsewhere, &[(variable, proxy)]).await;
        assert_eq!(
            output.status.code(),
            Some(0),
            "{variable}: {}{}",
            stdout(&output),
            stderr(&output)
        );
    }
    let output = run(&elsewhere, &[("http_proxy", proxy), ("NO_PROXY", "store.example")]).await;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));

    let port = store.url().rsplit_once(':').unwrap().1;
    let nobody = "http://127.0.0.1:1";
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let here = ["--url", &format!("http://{host}:{port}"), "--only", "greet"];
        let output =
            run(&here, &[("http_proxy", nobody), ("HTTP_PROXY", nobody), ("ALL_PROXY", nobody)])
                .await;
        assert_eq!(output.status.code(), Some(0), "{host}: {}", stderr(&output));
    }
    store.finish_whatever_came().await;
}
