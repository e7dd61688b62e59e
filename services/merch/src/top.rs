//! `merch top`: the state of a running store, every second.

mod collector;
mod metrics;
mod screen;
mod view;

use std::{
    io,
    time::{Duration, Instant, SystemTime},
};

use command_output::{Stdout, print};
use merch_chassis::StartError;

use self::{collector::Collector, screen::Screen};
use crate::{
    command_error::CommandError, interrupt::until_interrupted, run_file, settings::operations::Top,
};

const INTERVAL: Duration = Duration::from_secs(1);

pub(crate) async fn run(settings: &Top) -> Result<(), CommandError> {
    let (admin, db) = match (settings.admin.as_slice(), &settings.db_endpoint) {
        ([], None) => {
            let addresses = run_file::read(&settings.data.data_dir)?;
            (vec![addresses.admin.trim_start_matches("http://").to_owned()], Some(addresses.db))
        }
        // The catalogue alone does not show the state of a store.
        ([], Some(_)) => {
            return Err(StartError::new(
                "expected the admin ports of the roles, --admin (MERCH_ADMIN), such as \
                 api:9101,db:9102",
            )
            .into());
        }
        (admin, db) => (admin.to_vec(), db.clone()),
    };
    let collector = Collector::new(admin, db, &settings.internal.transport()?)?;
    if settings.once {
        // A signal simply ends the process: there is no screen to restore.
        let before = collector.collect().await;
        tokio::time::sleep(INTERVAL).await;
        let now = collector.collect().await;
        return Ok(print(view::frame(&before, &now, &timestamp()).join("\n"))?);
    }
    until_interrupted(watch(&collector)).await
}

/// Drop restores the terminal.
async fn watch(collector: &Collector) -> Result<(), CommandError> {
    let mut before = collector.collect().await;
    let gone = |error: io::Error| StartError::new(format!("cannot write to the terminal: {error}"));
    let mut screen =
        if Stdout::is_terminal() { Some(Screen::enter().map_err(gone)?) } else { None };
    let mut resized = screen::ResizeEvents::listen()?;
    let mut now = before.clone();
    let mut next = Instant::now() + INTERVAL;
    loop {
        let frame = view::frame(&before, &now, &timestamp());
        match &mut screen {
            Some(screen) => screen.draw(&frame).map_err(gone)?,
            // A file or a pipe.
            None => print(format_args!("{}\n", frame.join("\n")))?,
        }
        tokio::select! {
            () = resized.changed(), if screen.is_some() => {}
            () = tokio::time::sleep_until(next.into()) => {
                before = now;
                now = collector.collect().await;
                next = Instant::now() + INTERVAL;
            }
        }
    }
}

fn timestamp() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
