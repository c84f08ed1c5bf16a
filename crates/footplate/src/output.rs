//! The one place that prints. Results go to stdout, everything about the way there to stderr.

use std::io::{self, Write};
use std::process::Stdio;

use crate::failure::Failure;

/// A result, with a newline. A reader that has gone (`footplate … | head`) is no error.
pub(crate) fn result(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Something about the way to the result.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
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
