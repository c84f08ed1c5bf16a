//! What a terminal can show: each screen is drawn in full and then reduced to that.

use ratatui::buffer::Buffer;
use ratatui::style::Color;

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether colours are used.
    pub color: bool,
    /// Whether characters beyond ASCII are used.
    pub unicode: bool,
}

impl Look {
    /// Colours and all characters.
    pub const FULL: Self = Self { color: true, unicode: true };
    /// Neither colour nor characters beyond ASCII.
    pub const BARE: Self = Self { color: false, unicode: false };

    /// What the environment says about the terminal; `variable` returns the value of an environment variable.
    ///
    /// ```
    /// use footplate_views::live::Look;
    ///
    /// let utf8 = |name: &str| (name == "LANG").then(|| "de_DE.UTF-8".to_owned());
    /// assert_eq!(Look::from_environment(utf8), Look::FULL);
    /// assert!(!Look::from_environment(|_| None).unicode);
    /// ```
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
        let locale = locale.to_lowercase();
        let utf8 = locale.contains("utf-8") || locale.contains("utf8");
        let term = set("TERM").unwrap_or_default();
        // The kernel's console and serial terminals have no Braille.
        let is_simple = term == "linux" || term.starts_with("vt");
        Self { color: set("NO_COLOR").is_none() && !term.starts_with("vt"), unicode: utf8 && !is_simple }
    }

    /// Reduces a finished screen to what the terminal can show.
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

/// The ASCII character closest to `c`.
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
    fn a_terminal_gets_what_its_environment_says_that_it_can_show() {
        let bare_but = |color, unicode| Look { color, unicode };
        for (set, expected) in [
            ("", bare_but(true, false)),
            ("TERM=xterm LANG=en_US.UTF-8", Look::FULL),
            ("LANG=C.utf8", Look::FULL),
            ("LC_ALL=C LANG=C.utf8", bare_but(true, false)),
            ("LC_ALL= LC_CTYPE=C.utf8 LANG=C", Look::FULL),
            ("TERM=linux LANG=C.utf8", bare_but(true, false)),
            ("TERM=vt220 LANG=C.utf8", Look::BARE),
            ("NO_COLOR=1 LANG=C.utf8", bare_but(false, true)),
            // Empty is as good as not set (no-color.org).
            ("NO_COLOR= LANG=C.utf8", Look::FULL),
        ] {
            let variables = set.split(' ').filter_map(|variable| variable.split_once('='));
            let value = |name: &str| variables.clone().find(|v| v.0 == name).map(|v| v.1.to_owned());
            assert_eq!(Look::from_environment(value), expected, "{set}");
        }
    }

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
