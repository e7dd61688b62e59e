//! Proxies of the environment apply to remote hosts only.

use std::process::Output;

use crate::{
    faulty_servers::behind_prefix,
    program::{program, stderr, stdout, store, wait},
};

/// Runs the program with only these proxy variables.
async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = program(arguments);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    wait(command.envs(variables.iter().copied()).spawn().unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_remote_stores_use_the_proxy() {
    let store = store().await;
    // A proxy receives absolute URLs.
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
    let unreachable = "http://127.0.0.1:1";
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let here = ["--url", &format!("http://{host}:{port}"), "--only", "greet"];
        let output = run(
            &here,
            &[("http_proxy", unreachable), ("HTTP_PROXY", unreachable), ("ALL_PROXY", unreachable)],
        )
        .await;
        assert_eq!(output.status.code(), Some(0), "{host}: {}", stderr(&output));
    }
    store.finish_unchecked().await;
}
