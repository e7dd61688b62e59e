//! Writes log lines to standard error, human-readable or JSON. The log events for Kafka are
//! separate.

mod writer;

use std::{
    io::{IsTerminal as _, stderr},
    panic::PanicHookInfo,
    str::FromStr,
};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use self::writer::LogWriter;
pub use self::writer::{FlushGuard, flush, run_with_timeout};
use crate::StartError;

/// The default filter: `info` for the store's crates, `warn` for libraries.
pub const DEFAULT_FILTER: &str = "warn,merch=info,merch_api=info,merch_chassis=info,\
    merch_db=info,merch_logging=info,merch_migration=info";

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Human-readable; coloured on a terminal only.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            other => Err(format!("expected `human` or `json`, got `{other}`")),
        }
    }
}

/// Starts logging, panics included. `filter` is a tracing `EnvFilter`: `info,merch_db=debug`.
///
/// A thread writes the lines, so logging never blocks. Beyond 8,192 queued lines or 4 MiB, lines
/// are dropped and counted in `merch_log_lines_dropped_total`. The guard flushes on drop.
///
/// # Errors
/// If the filter is invalid or logging was already started.
pub fn init(format: Format, filter: &str) -> Result<FlushGuard, StartError> {
    let filter = parse_filter(filter)?;
    // Internal errors would go through `eprintln!`, which panics if standard error is closed.
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(LogWriter::start(stderr()))
        .log_internal_errors(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Human => lines.with_ansi(stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().map_err(|error| {
        StartError::new(format!("logging cannot be started twice in one process: {error}"))
    })?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(FlushGuard::new())
}

fn parse_filter(filter: &str) -> Result<EnvFilter, StartError> {
    EnvFilter::builder().parse(filter).map_err(|error| {
        StartError::new(format!(
            "the log filter `{filter}` cannot be read ({error}); expected levels such as \
            `info` or `warn,merch_db=debug`"
        ))
    })
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("(no message)");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    let backtrace = std::backtrace::Backtrace::capture();
    match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => {
            tracing::error!(
                message,
                location,
                thread,
                %backtrace,
                "panicked; please report this bug"
            )
        }
        _ => tracing::error!(message, location, thread, "panicked; please report this bug"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn formats_are_parsed_by_name() {
        assert_eq!("human".parse(), Ok(Format::Human));
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!(
            "xml".parse::<Format>(),
            Err("expected `human` or `json`, got `xml`".to_owned())
        );
    }

    #[test]
    fn default_filter_parses_and_invalid_filter_is_rejected() {
        parse_filter(DEFAULT_FILTER).unwrap();
        let error = parse_filter("merch_db=loud").unwrap_err().to_string();
        assert!(error.starts_with("the log filter `merch_db=loud` cannot be read"), "{error}");
    }

    #[test]
    fn panics_are_logged() {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(log_panic));
        tracing::subscriber::with_default(subscriber, || {
            let _ = std::panic::catch_unwind(|| panic!("seven is not eight"));
        });
        std::panic::set_hook(before);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(
            text.contains("seven is not eight")
                && text.contains("telemetry.rs")
                && text.contains("ERROR"),
            "{text}"
        );
    }
}
