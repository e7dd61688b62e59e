//! `merch top`: what the store does now, on one screen, drawn anew each second.

mod metrics;
mod screen;
mod sources;
mod view;

use std::{
    io,
    time::{Duration, Instant, SystemTime},
};

use command_output::{Stdout, print};
use merch_chassis::StartError;

use self::{screen::Screen, sources::Sources};
use crate::{failure::Failure, interrupt::until_interrupted, run_file, settings::operator::Top};

/// The time between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Looks and draws until a signal or until the reader closes the pipe; with `--once` looks twice
/// and prints what happened between.
///
/// # Errors
/// When it is not known where to look, or the terminal is gone. What does not answer is shown, and
/// is no error.
pub(crate) async fn run(settings: &Top) -> Result<(), Failure> {
    let (admin, db) = match (settings.admin.as_slice(), &settings.db_endpoint) {
        ([], None) => {
            let addresses = run_file::read(&settings.data.data_dir)?;
            (vec![addresses.admin.trim_start_matches("http://").to_owned()], Some(addresses.db))
        }
        // No admin ports: stock alone would be no view of a store.
        ([], Some(_)) => {
            return Err(StartError::new("expected the admin ports of the roles, --admin (MERCH_ADMIN), such as api:9101,db:9102").into());
        }
        (admin, db) => (admin.to_vec(), db.clone()),
    };
    let sources = Sources::new(admin, db, &settings.internal.transport()?)?;
    if settings.once {
        // A signal ends it as the system does: there is no screen to leave.
        let before = sources.look().await;
        tokio::time::sleep(PERIOD).await;
        let now = sources.look().await;
        return Ok(print(view::frame(&before, &now, &moment()).join("\n"))?);
    }
    until_interrupted(watch(&sources)).await
}

/// Looks and draws each second. Dropped, it gives the terminal back.
async fn watch(sources: &Sources) -> Result<(), Failure> {
    let mut before = sources.look().await;
    let gone =
        |error: io::Error| StartError::new(format!("the terminal cannot be drawn on: {error}"));
    let mut screen =
        if Stdout::is_terminal() { Some(Screen::enter().map_err(gone)?) } else { None };
    let mut resized = screen::Resized::listen()?;
    let mut now = before.clone();
    let mut next = Instant::now() + PERIOD;
    loop {
        let frame = view::frame(&before, &now, &moment());
        match &mut screen {
            Some(screen) => screen.draw(&frame).map_err(gone)?,
            // Into a file or a pipe: one frame after the other.
            None => print(format_args!("{}\n", frame.join("\n")))?,
        }
        tokio::select! {
            () = resized.changed(), if screen.is_some() => {}
            () = tokio::time::sleep_until(next.into()) => {
                before = now;
                now = sources.look().await;
                next = Instant::now() + PERIOD;
            }
        }
    }
}

fn moment() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
