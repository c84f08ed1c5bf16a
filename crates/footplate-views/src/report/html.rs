//! HTML as text: everything that comes from a log goes through [`escape`].

use std::fmt::Write;

/// Makes text safe between tags and in quoted attributes. Control characters, which HTML does not allow, become U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Units that are not separated from their number by a line break.
const UNITS: [&str; 17] =
    ["%", "s", "ms", "µs", "min", "h", "W", "J", "mJ", "µJ", "kJ", "MJ", "°C", "MHz", "MiB", "GiB", "V"];

/// Escaped text without a line break between a number and its unit.
pub(crate) fn glued(text: &str) -> String {
    let mut out = String::new();
    let mut words = escape(text).split(' ').map(ToOwned::to_owned).collect::<Vec<_>>().into_iter().peekable();
    while let Some(word) = words.next() {
        out.push_str(&word);
        if let Some(next) = words.peek() {
            let unit = next.trim_end_matches(['.', ',', ';', ':', ')']);
            let is_number = word.ends_with(|c: char| c.is_ascii_digit());
            out.push(if is_number && UNITS.contains(&unit) { '\u{a0}' } else { ' ' });
        }
    }
    out
}

/// A cell of a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cell {
    html: String,
    class: &'static str,
}

impl Cell {
    pub(crate) fn text(text: &str) -> Self {
        Self { html: escape(text), class: "" }
    }

    /// A number with its unit, aligned to the right.
    pub(crate) fn number(text: &str) -> Self {
        Self { html: escape(text), class: "n" }
    }

    /// HTML from this crate, whose parts are escaped already.
    pub(crate) fn html(html: String) -> Self {
        Self { html, class: "" }
    }

    /// The same cell, aligned like a number.
    pub(crate) fn right(self) -> Self {
        Self { class: "n", ..self }
    }
}

/// A table with a caption, whose first column names the rows, in a box that scrolls on narrow screens.
pub(crate) fn table(caption: &str, head: &[&str], rows: &[Vec<Cell>]) -> String {
    let mut out = String::from("<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"");
    let _ = write!(out, "{0}\"><table><caption>{0}</caption><thead><tr>", escape(caption));
    for (index, name) in head.iter().enumerate() {
        let is_number = rows.first().and_then(|row| row.get(index)).is_some_and(|cell| cell.class == "n");
        let class = if is_number { " class=\"n\"" } else { "" };
        let _ = write!(out, "<th scope=\"col\"{class}>{}</th>", escape(name));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for (index, cell) in row.iter().enumerate() {
            let class =
                if cell.class.is_empty() { String::new() } else { format!(" class=\"{}\"", cell.class) };
            let (open, close) = if index == 0 { ("th scope=\"row\"", "th") } else { ("td", "td") };
            let _ = write!(out, "<{open}{class}>{}</{close}>", cell.html);
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>\n");
    out
}

/// A section with its heading.
pub(crate) fn section(id: &str, title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<section id=\"{id}\" aria-labelledby=\"h-{id}\"><h2 id=\"h-{id}\">{title}</h2>\n{body}</section>\n"
    )
}

/// A paragraph of text, which is escaped.
pub(crate) fn paragraph(text: &str) -> String {
    format!("<p>{}</p>\n", glued(text))
}

/// A part of the page that is folded until it is opened.
pub(crate) fn details(summary: &str, body: &str) -> String {
    format!("<details><summary>{}</summary>\n{body}</details>\n", escape(summary))
}

pub(crate) fn document(title: &str, header: &str, sections: &[(String, &str, String)]) -> String {
    let mut nav = String::new();
    let mut body = String::new();
    for (id, name, html) in sections {
        let _ = write!(nav, "<li><a href=\"#{id}\">{}</a></li>", escape(name));
        body.push_str(&section(id, name, html));
    }
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the content</a>\n<header>\n{header}<nav aria-label=\"Sections\"><ul>{nav}</ul></nav>\n\
         </header>\n<main id=\"main\">\n{body}</main>\n<script>\n{}</script>\n</body>\n</html>\n",
        include_str!("assets/report.css"),
        include_str!("assets/report.js"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_of_a_log_becomes_markup() {
        assert_eq!(escape("<b a=\"1\" b='2'>&\u{0}"), "&lt;b a=&quot;1&quot; b=&#39;2&#39;&gt;&amp;\u{fffd}");
        let hostile = "</td><script>alert(1)</script>";
        let made = table(hostile, &[hostile], &[vec![Cell::text(hostile)], vec![Cell::number(hostile)]]);
        assert!(!made.contains("<script"), "{made}");
        assert!(!section("x", hostile, "").contains("<script"));
        assert!(!details(hostile, &paragraph(hostile)).contains("<script"));
    }

    fn unescaped(html: &str) -> String {
        let plain =
            html.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
        plain.replace("&amp;", "&")
    }

    proptest! {
        #[test]
        fn escaped_text_is_harmless_and_reads_as_it_was(text in any::<String>()) {
            let html = escape(&text);
            prop_assert!(!html.contains(['<', '>', '"', '\'']), "{html}");
            let is_kept = |c: char| !c.is_control() || c == '\n' || c == '\t';
            let shown: String = text.chars().map(|c| if is_kept(c) { c } else { '\u{fffd}' }).collect();
            prop_assert_eq!(unescaped(&html), shown);
        }

        #[test]
        fn gluing_changes_nothing_but_spaces(text in "[0-9a-zW%°<& .,]{0,40}") {
            prop_assert_eq!(glued(&text).replace('\u{a0}', " "), escape(&text));
        }
    }

    #[test]
    fn numbers_and_units_stay_together() {
        assert_eq!(glued("1.5 s, 3 s (2 %), 4 steps <"), "1.5\u{a0}s, 3\u{a0}s (2\u{a0}%), 4 steps &lt;");
    }

    #[test]
    fn the_pages_own_script_cannot_end_early() {
        assert!(!include_str!("assets/report.js").contains("</"));
        assert!(!include_str!("assets/report.css").contains("</"));
    }
}
