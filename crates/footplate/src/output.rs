//! The one place that prints. Results go to stdout, everything about the way there to stderr.
#![expect(clippy::disallowed_methods, reason = "the one place that prints")]

use std::collections::VecDeque;
use std::io::{self, Stderr, Write};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::failure::Failure;

/// A result, with a newline. A reader that has gone (`footplate … | head`) is no error.
pub(crate) fn result(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Lines that are kept while a screen has the terminal; of more, the last ones.
const HELD_MAX: usize = 40;

/// What is to be said when the screen has gone.
struct Held {
    lines: VecDeque<String>,
    left_out: usize,
}

static HELD: Mutex<Option<Held>> = Mutex::new(None);

fn held() -> MutexGuard<'static, Option<Held>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something about the way to the result.
pub(crate) fn note(text: &str) {
    match held().as_mut() {
        Some(held) => {
            if held.lines.len() == HELD_MAX {
                held.lines.pop_front();
                held.left_out += 1;
            }
            held.lines.push_back(text.to_owned());
        }
        None => say(text),
    }
}

fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Keeps notes until `release`: a screen has the terminal.
pub(crate) fn hold() {
    held().get_or_insert(Held { lines: VecDeque::new(), left_out: 0 });
}

/// Says what was kept.
pub(crate) fn release() {
    let Some(held) = held().take() else { return };
    if held.left_out > 0 {
        say(&format!("({} lines before these are left out)", held.left_out));
    }
    for line in &held.lines {
        say(line);
    }
}

/// The stream that a screen is drawn on.
pub(crate) fn terminal() -> Stderr {
    io::stderr()
}

/// Our stderr for a command whose own output must not mix with a document on stdout.
pub(crate) fn stderr_for_child() -> Stdio {
    Stdio::from(io::stderr())
}

/// Something that the user should know.
pub(crate) fn warning(text: &str) {
    note(&format!("warning: {text}"));
}

/// Why the program ends without a result.
pub(crate) fn failure(failure: &Failure) {
    note(&format!("error: {}", failure.message));
    for line in &failure.details {
        note(&format!("  {line}"));
    }
    if let Some(hint) = &failure.hint {
        note(&format!("hint: {hint}"));
    }
}
