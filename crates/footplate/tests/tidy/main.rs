//! The house rules that a test can check; what goes by name resolution is checked by clippy (`walls.rs`).
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![expect(clippy::disallowed_methods, reason = "tests read the sources")]

mod source;
mod walls;

use std::fs;
use std::path::Path;

use source::{is_test_file, product, root, sources, text_of};

/// Packages that the lock file may hold; raised by hand, with a reason in the commit.
const LOCKED_PACKAGES_MAX: usize = 745;
/// Without blank ones.
const FILE_LINES_MAX: usize = 500;
const LINE_CHARS_MAX: usize = 160;
const NONE: [String; 0] = [];

/// Places in the product that hold `word` and are not among `allowed` (beginnings of paths). Words in texts count if
/// `texts` is true.
fn offenders(word: &str, texts: bool, allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in sources("crates") {
        if is_test_file(&name) || allowed.iter().any(|a| name.starts_with(a)) {
            continue;
        }
        let code = product(&text, texts);
        let lines = code.lines().enumerate().filter(|(_, line)| line.contains(word));
        found.extend(lines.map(|(number, _)| format!("{name}:{}", number + 1)));
    }
    found
}

#[test]
fn control_files_are_named_where_they_belong() {
    for word in ["\"/proc", "\"/sys", "\"/dev"] {
        assert_eq!(offenders(word, true, &["crates/footplate-device/src/"]), NONE, "{word}");
    }
}

#[test]
fn unsafe_code_is_in_named_modules_only() {
    let allowed = [
        "crates/footplate/src/heap.rs",
        "crates/footplate-data/src/external_buffer.rs",
        "crates/footplate-data/src/shared_buffer.rs",
        "crates/footplate-data/src/decode/fused/simd.rs",
        "crates/footplate-train/src/gpu/mapped.rs",
    ];
    for word in ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern"] {
        assert_eq!(offenders(word, false, &allowed), NONE, "{word}");
    }
    for name in allowed {
        let (blocks, reasons) =
            (text_of(name).matches("unsafe {").count(), text_of(name).matches("SAFETY").count());
        assert!(reasons >= blocks, "{name}: {blocks} blocks, {reasons} reasons");
    }
}

#[test]
fn files_and_lines_are_short_enough_to_read() {
    for (name, text) in sources("crates").into_iter().chain(sources("examples")) {
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= FILE_LINES_MAX, "{name} has {lines} lines");
        for (number, line) in text.lines().enumerate() {
            assert!(line.chars().count() <= LINE_CHARS_MAX, "{name}:{} is too long", number + 1);
            assert!(!line.contains('\t'), "{name}:{} has a tab", number + 1);
        }
        assert!(text.starts_with("//!") || name.contains("/tests"), "{name} does not say what it is for");
    }
}

#[test]
fn the_number_of_packages_does_not_grow_unseen() {
    let packages = text_of("Cargo.lock").matches("[[package]]").count();
    assert!(packages <= LOCKED_PACKAGES_MAX, "{packages} packages are locked");
}

/// Scripts rely on the numbers. They stand in the program, in the README and here, each by itself.
#[test]
fn exit_codes_are_what_the_readme_says() {
    let codes = [
        ("Internal", 1, "a failure inside"),
        ("Usage", 2, "usage"),
        ("Data", 3, "bad input data"),
        ("Machine", 4, "hardware, permission or storage"),
        ("Infeasible", 5, "infeasible budget"),
        ("Memory", 6, "not enough memory"),
        ("Interrupted", 7, "interrupted"),
    ];
    let (program, readme) = (text_of("crates/footplate/src/failure.rs"), text_of("README.md"));
    for (name, code, words) in codes {
        assert!(program.contains(&format!("{name} = {code},")), "{name} is no longer {code}");
        assert!(readme.contains(&format!("| {code} | {words}")), "the README tells {code} otherwise");
    }
    let list = &program[program.find("enum Kind").unwrap()..];
    let list = &list[..list.find('}').unwrap()];
    assert_eq!(list.matches(" = ").count(), codes.len(), "a code that is not documented");
}

/// Every setting of a file has its flag in the example of all settings.
#[test]
fn the_example_of_all_settings_is_complete() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example: toml::Table =
        fs::read_to_string(folder.join("tests/settings/valid/all.toml")).unwrap().parse().unwrap();
    let options = product(&text_of("crates/footplate-train/src/request.rs"), false);
    let fields = options
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ").filter(|field| !field.starts_with('$')));
    let fields: Vec<String> = fields
        .filter_map(|line| line.split_once(": Option<"))
        .map(|(name, _)| name.replace('_', "-"))
        .collect();
    assert!(fields.len() > 30, "the fields are not found any more");
    for field in fields {
        assert!(example.contains_key(&field), "{field} is not in all.toml");
    }
}

/// A stranger has the repository only: no page may send him elsewhere.
#[test]
fn every_link_of_the_docs_leads_to_a_file_of_the_repository() {
    let root = root();
    let mut pages = vec![root.join("README.md"), root.join("ARCHITECTURE.md"), root.join("CONTRIBUTING.md")];
    for folder in ["docs", "docs/boards", "benches", "tests/parity", "fuzz"] {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(entries.filter(|path| path.extension().is_some_and(|e| e == "md")));
    }
    for page in pages {
        let text = fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            let path = page.parent().unwrap().join(target);
            assert!(path.exists(), "{} links to {target}", page.display());
        }
    }
}
