//! A report that cannot be written: the run is over and says so, and the store is clean.
#![cfg(target_os = "linux")] // /dev/full

use std::{fs::File, process::Stdio};

use crate::program::{ended, left_in, program, stderr, store};

#[tokio::test]
async fn a_report_that_is_lost_is_an_error_and_a_reader_that_has_gone_is_none() {
    let store = store().await;
    let before = left_in(&store).await;
    for arguments in [
        &["--url", store.url(), "--only", "greet"][..],
        &["--url", store.url(), "--only", "greet", "--json"],
        &["--help"],
        &["--version"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = ended(program(arguments).stdout(Stdio::from(full)).spawn().unwrap()).await;
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        let expected = if arguments.len() > 1 {
            "Done: the suite has run, and cleaned up: "
        } else {
            "run the command again"
        };
        assert!(
            told.contains("No space left on device") && told.contains(expected),
            "{arguments:?}: {told}"
        );
        let output = ended(
            program(arguments).stdout(Stdio::from(std::io::pipe().unwrap().1)).spawn().unwrap(),
        )
        .await;
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{arguments:?}");
    }
    assert_eq!(left_in(&store).await, before);
    store.finish_whatever_came().await;
}
