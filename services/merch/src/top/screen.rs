use std::io::{self, Write as _};

use command_output::Stdout;
use merch_chassis::StartError;
use terminal_size::{Height, Width, terminal_size};
use unicode_width::UnicodeWidthChar as _;

/// Enters the alternate screen and hides the cursor; and the reverse.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

pub(super) struct Screen(());

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        let mut out = Stdout;
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        Ok(Self(()))
    }

    /// Draws over the previous frame to avoid flicker.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let (width, height) = terminal_size().map_or((80, 24), |(Width(width), Height(height))| {
            (usize::from(width), usize::from(height))
        });
        let mut text = String::from("\x1b[H");
        for (index, line) in lines.iter().take(height).enumerate() {
            // A line break after the last line would scroll.
            text.push_str(if index == 0 { "" } else { "\r\n" });
            text.push_str(truncate(line, width));
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        let mut out = Stdout;
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = Stdout;
        // Fails only if the terminal is gone.
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
    }
}

/// Returns the prefix that fits into `width` columns.
fn truncate(line: &str, width: usize) -> &str {
    let mut used = 0;
    for (place, character) in line.char_indices() {
        used += character.width().unwrap_or(0);
        if used > width {
            return &line[..place];
        }
    }
    line
}

pub(super) struct ResizeEvents(tokio::signal::unix::Signal);

impl ResizeEvents {
    pub(super) fn listen() -> Result<Self, StartError> {
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change())
            .map(Self)
            .map_err(|error| {
                StartError::new(format!("failed to install the SIGWINCH handler: {error}"))
            })
    }

    pub(super) async fn changed(&mut self) {
        self.0.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_truncated_by_display_width() {
        assert_eq!(truncate("hoodie", 4), "hood");
        assert_eq!(truncate("帽衫 hoodie", 5), "帽衫 ");
        assert_eq!(truncate("帽衫", 3), "帽");
        assert_eq!(truncate("", 0), "");
    }
}
