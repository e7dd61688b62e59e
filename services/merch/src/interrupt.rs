//! What ends a command that would go on by itself.

use std::time::Duration;

use command_output::Stdout;
use merch_chassis::shutdown::on_first_signal;

use crate::failure::Failure;

/// The time between two looks at whether standard output still has a reader.
const PERIOD: Duration = Duration::from_secs(1);

/// Runs `work` until it ends, a signal arrives, or the reader of standard output has gone. The last
/// two are no failure. After a signal the process ends within about a second, even if `work`
/// blocks.
///
/// # Errors
/// As `work`, or when this process cannot listen for signals.
pub(crate) async fn until_interrupted(
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let signal = on_first_signal(|| 0)?;
    tokio::select! {
        // An error that is there already is not lost with the reader.
        biased;
        ended = work => ended,
        () = signal.cancelled() => Ok(()),
        () = reader_gone() => Ok(()),
    }
}

/// Returns once the reader of standard output has gone, as `head` does. A write would tell as well,
/// and there may be nothing to write for hours.
async fn reader_gone() {
    while !Stdout::has_lost_reader() {
        tokio::time::sleep(PERIOD).await;
    }
}
