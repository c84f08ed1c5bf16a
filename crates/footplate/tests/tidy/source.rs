//! The product's lines of Rust source: without comments, texts and tests.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A file's text from the repository's root.
pub fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// All Rust files below `folder`, with their path from the repository's root and their text.
pub fn sources(folder: &str) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty());
    found.sort();
    found
}

/// Whether a file holds tests or examples only.
pub fn is_test_file(name: &str) -> bool {
    name.contains("/tests/")
        || name.ends_with("/tests.rs")
        || name.ends_with("/testing.rs")
        || name.contains("/examples/")
}

/// The code of a file as the product has it: comments and what `#[cfg(test)]` marks are blanked, wherever they stand,
/// and so are the insides of texts if `texts` is false. Lines keep their numbers.
pub fn product(text: &str, texts: bool) -> String {
    let code = blanked(text, false);
    let shown = blanked(text, texts);
    let mut kept: Vec<char> = shown.chars().collect();
    let bare: Vec<char> = code.chars().collect();
    let marks = ["#[cfg(test)]", "#[cfg(all(test"];
    let mut from = 0;
    while let Some(begin) = marks.iter().filter_map(|mark| find(&bare, mark, from)).min() {
        let end = item_end(&bare, begin);
        kept[begin..end].iter_mut().filter(|c| **c != '\n').for_each(|c| *c = ' ');
        from = end;
    }
    kept.into_iter().collect()
}

fn find(code: &[char], mark: &str, from: usize) -> Option<usize> {
    let mark: Vec<char> = mark.chars().collect();
    (from..code.len().saturating_sub(mark.len())).find(|at| code[*at..].starts_with(&mark))
}

/// Where the item that an attribute at `begin` marks ends: at its `;` or `,` outside of brackets, or at its closing brace.
fn item_end(code: &[char], begin: usize) -> usize {
    let mut depth = 0i32;
    for (at, c) in code.iter().enumerate().skip(begin) {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth -= 1;
                if depth < 0 {
                    return at;
                }
                if depth == 0 && *c == '}' {
                    return at + 1;
                }
            }
            ';' | ',' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// The text without comments and, if `texts` is false, without what stands in quotes; same length and lines.
fn blanked(text: &str, texts: bool) -> String {
    let source: Vec<char> = text.chars().collect();
    let mut out = source.clone();
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        let (end, hide) = if rest.starts_with(&['/', '/']) {
            (at + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()), true)
        } else if rest.starts_with(&['/', '*']) {
            (block_comment_end(&source, at), true)
        } else if let Some(end) = text_end(&source, at) {
            (end, !texts)
        } else {
            at += 1;
            continue;
        };
        if hide {
            out[at..end].iter_mut().filter(|c| **c != '\n').for_each(|c| *c = ' ');
        }
        at = end;
    }
    out.into_iter().collect()
}

fn block_comment_end(source: &[char], begin: usize) -> usize {
    let mut depth = 0;
    let mut at = begin;
    while at + 1 < source.len() {
        match (source[at], source[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    source.len()
}

/// The end of a string or character that begins at `at`, if one does.
fn text_end(source: &[char], at: usize) -> Option<usize> {
    let before = at.checked_sub(1).map(|i| source[i]);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    match source[at] {
        '"' => Some(quoted_end(source, at + 1, '"')),
        'r' if !before.is_some_and(|c| is_word(c) && c != 'b') => {
            let hashes = source[at + 1..].iter().take_while(|c| **c == '#').count();
            if source.get(at + 1 + hashes) != Some(&'"') {
                return None;
            }
            let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let from = at + 2 + hashes;
            let end = (from..source.len()).find(|i| source[*i..].starts_with(&close));
            Some(end.map_or(source.len(), |i| i + close.len()))
        }
        // A character, not a lifetime.
        '\'' if source.get(at + 1) == Some(&'\\') || source.get(at + 2) == Some(&'\'') => {
            Some(quoted_end(source, at + 1, '\''))
        }
        _ => None,
    }
}

fn quoted_end(source: &[char], mut at: usize, quote: char) -> usize {
    while at < source.len() && source[at] != quote {
        at += if source[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(source.len())
}

#[test]
fn what_stands_after_a_test_is_read_and_what_a_test_holds_is_not() {
    let text = "use std::fs;\n#[cfg(test)]\nmod tests {\n    fn a() { let x = \"}\"; bad(); }\n}\nfn after() { late(); }\n\
                #[cfg(test)]\nmod more;\nconst Q: char = '\"'; // comment()\n/* block() */ fn end<'a>() { last(r#\"quo\"te\"#); }\n";
    let code = product(text, false);
    for word in ["std::fs", "late()", "last(", "fn end<'a>()"] {
        assert!(code.contains(word), "{word} is missing in:\n{code}");
    }
    for word in ["bad()", "mod more", "comment()", "block()", "quo", "mod tests"] {
        assert!(!code.contains(word), "{word} is still in:\n{code}");
    }
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(product(text, true).contains("quo\"te"));
}
