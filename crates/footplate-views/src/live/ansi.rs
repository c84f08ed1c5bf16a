//! A screen's cells as escape sequences: those that every terminal since the VT100 knows, and the eight colours of
//! ECMA-48.

use std::fmt::Write as _;
use std::io::{self, Write};

use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};

/// A terminal behind a writer. Each picture is collected and written at once.
pub struct Ansi<W> {
    out: W,
    size: fn() -> Option<Size>,
    pending: String,
}

impl<W: Write> Ansi<W> {
    /// Draws on `out`; `size` returns its columns and rows, `None` if they are unknown.
    pub fn new(out: W, size: fn() -> Option<Size>) -> Self {
        Self { out, size, pending: String::new() }
    }

    fn push(&mut self, text: &str) {
        self.pending.push_str(text);
    }
}

/// The sequence that sets a cell's style, with everything else reset.
fn look(cell: &Cell) -> String {
    let mut codes = String::from("\x1b[0");
    let modifiers =
        [(Modifier::BOLD, 1), (Modifier::DIM, 2), (Modifier::UNDERLINED, 4), (Modifier::REVERSED, 7)];
    for (modifier, code) in modifiers {
        if cell.modifier.contains(modifier) {
            let _ = write!(codes, ";{code}");
        }
    }
    for (color, base) in [(cell.fg, 30), (cell.bg, 40)] {
        if let Some(number) = color_number(color) {
            let _ = write!(codes, ";{}", base + number);
        }
    }
    codes.push('m');
    codes
}

/// The number of a colour, 0 to 7; `None`: the terminal's default.
fn color_number(color: Color) -> Option<u32> {
    Some(match color {
        Color::Black => 0,
        Color::Red | Color::LightRed => 1,
        Color::Green | Color::LightGreen => 2,
        Color::Yellow | Color::LightYellow => 3,
        Color::Blue | Color::LightBlue => 4,
        Color::Magenta | Color::LightMagenta => 5,
        Color::Cyan | Color::LightCyan => 6,
        Color::White | Color::Gray => 7,
        _ => return None,
    })
}

impl<W: Write> Backend for Ansi<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let mut next: Option<(u16, u16)> = None;
        let mut look_now = String::from("\x1b[0m");
        self.push("\x1b[0m");
        for (x, y, cell) in content {
            if next != Some((x, y)) {
                let _ = write!(self.pending, "\x1b[{};{}H", y + 1, x + 1);
            }
            let wanted = look(cell);
            if wanted != look_now {
                self.push(&wanted);
                look_now = wanted;
            }
            self.push(cell.symbol());
            // A wide character moves the cursor by two: the next cell gets a position of its own.
            next = cell.symbol().is_ascii().then_some((x + 1, y));
        }
        self.push("\x1b[0m");
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        // The cursor stays visible: a process that is killed could not show it again.
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        let _ = write!(self.pending, "\x1b[{};{}H", y + 1, x + 1);
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.push("\x1b[0m\x1b[2J");
        Ok(())
    }

    fn clear_region(&mut self, _: ClearType) -> io::Result<()> {
        self.clear()
    }

    fn size(&self) -> io::Result<Size> {
        (self.size)().ok_or_else(|| io::Error::other("the terminal does not tell its size"))
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size()?, pixels: Size::ZERO })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(self.pending.as_bytes())?;
        self.pending.clear();
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::buffer::Buffer;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    fn drawn(before: &Buffer, after: &Buffer) -> String {
        let mut out = Vec::new();
        let mut ansi = Ansi::new(&mut out, || None);
        ansi.draw(before.diff(after).into_iter()).unwrap();
        ansi.flush().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_what_changed_is_written() {
        let area = Rect::new(0, 0, 20, 2);
        let (before, mut after) = (Buffer::empty(area), Buffer::empty(area));
        after.set_string(3, 1, "ab", Style::new());
        after.set_string(10, 1, "c", Style::new().red().bold());
        assert_eq!(drawn(&before, &after), "\x1b[0m\x1b[2;4Hab\x1b[2;11H\x1b[0;1;31mc\x1b[0m");
        assert_eq!(drawn(&after, &after), "\x1b[0m\x1b[0m");
    }

    #[test]
    fn what_stands_behind_a_wide_character_is_addressed() {
        let area = Rect::new(0, 0, 10, 1);
        let (before, mut after) = (Buffer::empty(area), Buffer::empty(area));
        after.set_string(0, 0, "日x", Style::new());
        let text = drawn(&before, &after);
        assert!(text.contains("日\x1b[1;3Hx"), "{text:?}");
    }
}
