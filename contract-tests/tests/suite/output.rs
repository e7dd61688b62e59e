//! Reports that cannot be written: the program reports the error, and the store is clean.
#![cfg(target_os = "linux")] // /dev/full

use std::{fs::File, process::Stdio};

use crate::program::{program, remaining, stderr, store, wait};

#[tokio::test]
async fn lost_reports_fail_and_closed_pipes_do_not() {
    let store = store().await;
    let before = remaining(&store).await;
    for arguments in [
        &["--url", store.url(), "--only", "greet"][..],
        &["--url", store.url(), "--only", "greet", "--json"],
        &["--help"],
        &["--version"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = wait(program(arguments).stdout(Stdio::from(full)).spawn().unwrap()).await;
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        let expected = if arguments.len() > 1 {
            "Done: the suite ran and cleaned up: "
        } else {
            "run the command again"
        };
        assert!(
            message.contains("No space left on device") && message.contains(expected),
            "{arguments:?}: {message}"
        );
        let output = wait(
            program(arguments).stdout(Stdio::from(std::io::pipe().unwrap().1)).spawn().unwrap(),
        )
        .await;
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{arguments:?}");
    }
    assert_eq!(remaining(&store).await, before);
    store.finish_unchecked().await;
}
