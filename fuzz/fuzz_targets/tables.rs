//! Tables of sysfs, the release file, and captured trees: never a panic, and results in order.
#![no_main]

use footplate_device::Tree;
use footplate_device::memory_tree::{HEADER, MemoryTree, Reader};
use footplate_device::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(cpus) = parse::cpu_list(text) {
        assert!(cpus.is_sorted());
        let shown = parse::show_cpu_list(&cpus);
        assert_eq!(parse::cpu_list(&shown), Some(cpus));
    }
    if let Some(numbers) = parse::numbers(text) {
        assert!(numbers.is_sorted_by(|a, b| a < b));
    }
    assert!(parse::emc_dvfs(text).is_sorted());
    let names: Vec<String> = text.lines().map(str::to_owned).collect();
    assert!(parse::emc_folders(&names).is_sorted());
    let _ = parse::nul_list(text.as_bytes());
    let _ = parse::L4t::parse(text).map(|l4t| (l4t.to_string(), l4t.jetpack()));
    let _ = parse::meminfo(text, "MemTotal");
    for text in [text.to_owned(), format!("{HEADER}\n{text}")] {
        let Ok(tree) = MemoryTree::parse(&text, "fuzz", Reader::AsCaptured) else { continue };
        for path in tree.nodes().keys() {
            let _ = (tree.read(path), tree.list(path), tree.exists(path), tree.link(path), tree.writable(path));
        }
        let again = MemoryTree::parse(&tree.to_text(), "fuzz", Reader::Root).map(|tree| tree.nodes());
        assert_eq!(again.ok(), Some(tree.nodes()), "{text:?}");
    }
});
