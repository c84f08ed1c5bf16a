//! What a terminal can show: every screen is drawn in full and then brought down to it.

use ratatui::buffer::Buffer;
use ratatui::style::Color;

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Colours.
    pub color: bool,
    /// Characters beyond ASCII.
    pub unicode: bool,
}

impl Look {
    /// Everything.
    pub const FULL: Self = Self { color: true, unicode: true };
    /// Neither colour nor characters beyond ASCII.
    pub const BARE: Self = Self { color: false, unicode: false };

    /// Takes from a finished screen what the terminal cannot show.
    pub fn apply(self, buffer: &mut Buffer) {
        for cell in &mut buffer.content {
            if !self.color {
                cell.set_fg(Color::Reset).set_bg(Color::Reset);
            }
            if !self.unicode && !cell.symbol().is_ascii() {
                let plain = cell.symbol().chars().next().map_or(' ', ascii);
                cell.set_char(plain);
            }
        }
    }
}

/// The nearest character of ASCII.
fn ascii(c: char) -> char {
    match c {
        '│' => '|',
        '─' => '-',
        '┌' | '┐' | '└' | '┘' | '├' | '┤' | '┬' | '┴' | '┼' => '+',
        '█' => '#',
        '░' => '.',
        '•' => '*',
        '°' => '\'',
        '…' => '~',
        '·' => '-',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    #[test]
    fn a_bare_terminal_gets_ascii_without_colour() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 1));
        buffer.set_string(0, 0, "█░│54°…日", Style::new().red().on_blue());
        Look::BARE.apply(&mut buffer);
        let text: String = buffer.content.iter().map(ratatui::buffer::Cell::symbol).collect();
        assert!(text.is_ascii() && text.starts_with("#.|54'~"), "{text}");
        assert!(buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    }
}
