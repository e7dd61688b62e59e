use std::time::Duration;

use command_output::Stdout;
use merch_chassis::shutdown::on_first_signal;

use crate::command_error::CommandError;

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Runs `work` until it ends, a signal arrives, or standard output loses its reader; the last two
/// are a success. After a signal the process ends within about a second, even if `work` blocks.
pub(crate) async fn until_interrupted(
    work: impl Future<Output = Result<(), CommandError>>,
) -> Result<(), CommandError> {
    let signal = on_first_signal(|| 0)?;
    tokio::select! {
        // An error of `work` takes precedence.
        biased;
        ended = work => ended,
        () = signal.cancelled() => Ok(()),
        () = reader_closed() => Ok(()),
    }
}

/// A write would show it too, but there may be nothing to write for hours.
async fn reader_closed() {
    while !Stdout::has_lost_reader() {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
