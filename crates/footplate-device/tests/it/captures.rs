//! Captures: the text form of trees, and that what is captured is the machine without what tells it from all others.

use std::io;
use std::sync::Arc;

use footplate_device::memory_tree::{MemoryTree, Node, Reader, error_name, line};
use footplate_device::sim::{SimBoard, SimOptions};
use footplate_device::{Device, Root, Source, Tree, capture};
use proptest::prelude::*;

use crate::common::boards;

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> Option<i32> {
    result.unwrap_err().raw_os_error()
}

#[test]
fn every_simulated_board_is_the_same_machine_after_a_capture() {
    for name in boards() {
        for root in [true, false] {
            let board = SimBoard::new(&name, SimOptions { root, ..SimOptions::default() }).unwrap();
            let text = capture::text(&board.root());
            let tree = MemoryTree::parse(&text, &name, Reader::Root).unwrap();
            let captured = Device::discover(Root::from_tree(Arc::new(tree), Source::Capture("x".into())));
            let live = Device::discover(board.root());
            let what = format!("{name}, root {root}");
            assert_eq!(captured.facts.id, live.facts.id, "{what}");
            assert_eq!(captured.identity, live.identity, "{what}");
            assert_eq!(captured.cpu, live.cpu, "{what}");
            assert_eq!(captured.gpu, live.gpu, "{what}");
            assert_eq!(captured.tables(), live.tables(), "{what}");
            assert_eq!(captured.rails, live.rails, "{what}");
            assert_eq!(captured.zones, live.zones, "{what}");
            assert_eq!(captured.cooling, live.cooling, "{what}");
        }
    }
}

#[test]
fn a_capture_of_a_capture_is_the_same_text() {
    let board = SimBoard::new("agx-orin@r35", SimOptions::default()).unwrap();
    let once = capture::text(&board.root());
    let tree = MemoryTree::parse(&once, "once", Reader::Root).unwrap();
    assert_eq!(capture::text(&Root::from_tree(Arc::new(tree), Source::Capture("x".into()))), once);
}

#[test]
fn what_tells_one_machine_from_another_is_not_captured() {
    let tree = MemoryTree::new();
    for (path, value) in [
        ("/proc/device-tree/serial-number", "1424620012345"),
        ("/sys/class/hwmon/hwmon0/name", "coretemp"),
        ("/sys/class/hwmon/hwmon0/power1_input", "5000000"),
        ("/sys/class/hwmon/hwmon0/power1_label", "bridge 48:b0:2d:aa:bb:cc"),
    ] {
        tree.file(path, value, 0o444);
    }
    let text = capture::text(&Root::from_tree(Arc::new(tree), Source::System));
    assert!(text.contains("/sys/class/hwmon/hwmon0/power1_input"), "{text}");
    assert!(text.contains("bridge xx:xx:xx:xx:xx:xx") && !text.contains("48:b0"), "{text}");
    assert!(!text.contains("1424620012345"), "{text}");
}

#[test]
fn a_capture_writes_nothing_to_the_machine() {
    let board = SimBoard::new("tx2", SimOptions::default()).unwrap();
    let device = Device::discover(board.root());
    let before = crate::common::controls(&device);
    let folder = tempfile::tempdir().unwrap();
    let nodes = capture::write(&board.root(), &folder.path().join("tx2.tar.gz")).unwrap();
    assert!(nodes > 100, "{nodes}");
    assert_eq!(crate::common::controls(&device), before);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["tx2.tar.gz"], "no draft is left beside it");
    let error = capture::write(&board.root(), &folder.path().join("missing/tx2.tar.gz")).unwrap_err();
    assert!(error.is_absent() && error.to_string().contains("missing/tx2.tar.gz"), "{error}");
}

#[test]
fn every_form_of_a_line_is_read_and_written_as_it_was() {
    let file = |bytes: &[u8], mode| Node::File { bytes: bytes.to_vec(), mode };
    for (text, path, node) in [
        ("/sys/a 0644 = 1", "/sys/a", file(b"1\n", 0o644)),
        ("/sys/a 0444 := 1", "/sys/a", file(b"1", 0o444)),
        ("/sys/a 0600 = two\\nlines \\\\ \\0", "/sys/a", file(b"two\nlines \\ \0\n", 0o600)),
        ("/sys/a 0644 = ", "/sys/a", file(b"\n", 0o644)),
        ("/sys/a 0644 = a = b", "/sys/a", file(b"a = b\n", 0o644)),
        ("/sys/a ! EACCES", "/sys/a", Node::Failing { errno: 13 }),
        ("/sys/a -> ../b c", "/sys/a", Node::Link("../b c".to_owned())),
        ("/sys/a/", "/sys/a", Node::Folder),
    ] {
        let tree = MemoryTree::parse(&format!("# footplate tree 1\n{text}\n"), "t", Reader::Root).unwrap();
        assert_eq!(tree.nodes().get(path), Some(&node), "{text}");
        assert_eq!(line(path, &node), text);
    }
    // A mode may be left out.
    let tree = MemoryTree::parse("# footplate tree 1\n/a = 1\n", "t", Reader::Root).unwrap();
    assert_eq!(tree.nodes()["/a"], file(b"1\n", 0o644));
}

#[test]
fn what_is_no_line_is_told_with_its_number() {
    for (text, problem) in [
        ("sys/a = 1", "absolute path"),
        ("/sys//a = 1", "absolute path"),
        ("/sys/./a = 1", "absolute path"),
        ("/sys/../a = 1", "absolute path"),
        ("/sys/a", "is a folder and ends with `/`"),
        ("/", "is a folder and ends with `/`"),
        ("/sys/a 1", "expected `=`"),
        ("/sys/a 0888 = 1", "expected `=`"),
        ("/sys/a ! EWHAT", "unknown error name"),
        ("/sys/a -> ", "without a target"),
        ("/sys/a = \\q", "unknown escape"),
        ("/sys/a = \\u12", "four digits"),
        ("/sys/a = \u{7}", "control characters"),
    ] {
        let whole = format!("# footplate tree 1\n\n# remark\n{text}\n");
        let error = MemoryTree::parse(&whole, "file", Reader::Root).unwrap_err().to_string();
        assert!(error.starts_with("file, line 4: ") && error.contains(problem), "{text}: {error}");
    }
}

#[test]
fn links_are_followed_in_the_middle_and_at_the_end_and_loops_end() {
    let text = "# footplate tree 1\n/sys/devices/gpu/name = ga10b\n/sys/class/gpu -> ../devices/gpu\n\
                /sys/alias -> /sys/class/gpu\n/sys/loop -> loop\n/sys/up -> ../../../../sys/devices\n/sys/dangling -> nowhere\n";
    let tree = MemoryTree::parse(text, "t", Reader::Root).unwrap();
    for path in ["/sys/devices/gpu/name", "/sys/class/gpu/name", "/sys/alias/name", "/sys/up/gpu/name"] {
        assert_eq!(tree.read(path).unwrap(), b"ga10b\n", "{path}");
    }
    assert_eq!(tree.link("/sys/alias").unwrap(), "/sys/class/gpu", "as it stands there");
    assert_eq!(tree.link("/sys/alias/").unwrap(), "/sys/class/gpu");
    assert_eq!(errno(tree.read("/sys/loop")), Some(40));
    assert_eq!(errno(tree.read("/sys/dangling")), Some(2));
    assert_eq!(tree.exists("/sys/dangling").ok(), Some(false));
    assert_eq!(errno(tree.link("/sys/devices/gpu/name")), Some(22), "no link");
    assert_eq!(errno(tree.link("/sys/devices")), Some(22), "a folder is none either");
    assert_eq!(errno(tree.link("/sys/other")), Some(2));
    assert_eq!(tree.list("/sys/class/gpu").unwrap(), ["name"]);
    assert_eq!(errno(tree.read("/sys/devices")), Some(21), "a folder is no file");
}

#[test]
fn nodes_can_be_put_in_changed_and_taken_away() {
    let tree = MemoryTree::new();
    tree.file("/sys/a/b", "1", 0o644);
    tree.file("/sys/a/c", "2", 0o644);
    tree.file("/sys/ab", "3", 0o644);
    tree.write("/sys/a/b", "9").unwrap();
    assert_eq!(tree.read("/sys/a/b").unwrap(), b"9\n");
    tree.remove("/sys/a");
    assert_eq!(tree.nodes().keys().collect::<Vec<_>>(), ["/sys/ab"], "all below it, and no neighbour");
    let shown = MemoryTree::parse(&tree.to_text(), "t", Reader::Root).unwrap().read_only();
    assert_eq!(errno(shown.write("/sys/ab", "4")), Some(30));
    assert_eq!(shown.read("/sys/ab").unwrap(), b"3\n");
}

#[test]
fn errors_have_the_names_of_c_and_unknown_ones_are_eio() {
    for (number, name) in [(1, "EPERM"), (11, "EAGAIN"), (13, "EACCES"), (61, "ENODATA"), (99, "EIO")] {
        assert_eq!(error_name(number), name);
    }
}

/// Any node that the text form can hold.
fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        ("\\PC{0,20}|[a-z\n\t\r\0\\\\]{0,20}", 0u32..0o777)
            .prop_map(|(text, mode)| Node::File { bytes: text.into_bytes(), mode }),
        prop_oneof![Just(1), Just(2), Just(5), Just(11), Just(13), Just(61)]
            .prop_map(|errno| Node::Failing { errno }),
        "[a-z./]{1,12}".prop_map(Node::Link),
        Just(Node::Folder),
    ]
}

proptest! {
    /// What a tree says of itself is the same tree.
    #[test]
    fn a_trees_text_is_the_tree(nodes in proptest::collection::btree_map("(/[a-z0-9@:_-]{1,6}){1,4}", node(), 0..20)) {
        let tree = MemoryTree::new();
        nodes.iter().for_each(|(path, node)| tree.insert(path, node.clone()));
        let text = tree.to_text();
        let again = MemoryTree::parse(&text, "t", Reader::Root).unwrap();
        prop_assert_eq!(again.nodes(), nodes);
        prop_assert_eq!(again.to_text(), text);
    }

    /// No path, however it is written, makes a tree panic or leave itself.
    #[test]
    fn any_path_is_an_answer_or_an_error(path in "[a-z./]{0,30}") {
        let tree = MemoryTree::parse("# footplate tree 1\n/a/b = 1\n/a/l -> ../..\n/x -> /a\n", "t", Reader::Root).unwrap();
        let _ = (tree.read(&path), tree.list(&path), tree.link(&path), tree.exists(&path), tree.writable(&path));
    }
}
