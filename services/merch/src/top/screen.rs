//! The terminal: a screen of its own that is gone, with the cursor back, however this ends.

use std::io::{self, Write as _};

use command_output::Stdout;
use merch_chassis::StartError;
use terminal_size::{Height, Width, terminal_size};
use unicode_width::UnicodeWidthChar as _;

/// Alternate screen, cursor hidden; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// While it lives, the terminal shows frames.
pub(super) struct Screen(());

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        let mut out = Stdout;
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        Ok(Self(()))
    }

    /// Draws the lines, as far as they have place; each over the one before, so that nothing
    /// flickers.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let (width, height) = terminal_size().map_or((80, 24), |(Width(width), Height(height))| {
            (usize::from(width), usize::from(height))
        });
        let mut text = String::from("\x1b[H");
        for (index, line) in lines.iter().take(height).enumerate() {
            // The last line has no break after it, as that would scroll.
            text.push_str(if index == 0 { "" } else { "\r\n" });
            text.push_str(cut(line, width));
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
        // A terminal that is gone needs no cursor.
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
    }
}

/// The beginning of `line` that has place in so many columns.
fn cut(line: &str, width: usize) -> &str {
    let mut used = 0;
    for (place, character) in line.char_indices() {
        used += character.width().unwrap_or(0);
        if used > width {
            return &line[..place];
        }
    }
    line
}

/// Told of each change of the terminal's size.
pub(super) struct Resized(tokio::signal::unix::Signal);

impl Resized {
    pub(super) fn listen() -> Result<Self, StartError> {
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change())
            .map(Self)
            .map_err(|error| {
                StartError::new(format!(
                    "this process cannot listen for changes of the terminal: {error}"
                ))
            })
    }

    /// Waits for the next change: the frame after it has the new size.
    pub(super) async fn changed(&mut self) {
        self.0.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_columns_and_never_within_a_character() {
        assert_eq!(cut("hoodie", 4), "hood");
        assert_eq!(cut("帽衫 hoodie", 5), "帽衫 ");
        assert_eq!(cut("帽衫", 3), "帽");
        assert_eq!(cut("", 0), "");
    }
}
