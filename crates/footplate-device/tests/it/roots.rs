//! The gate to control files: captured folders, texts and archives, and that none of them leads elsewhere.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use footplate_device::memory_tree::{FILE_NAME, MemoryTree, Node, Reader};
use footplate_device::{DeviceError, Root, Source};

/// A folder with a secret beside the captured tree.
fn captured() -> (tempfile::TempDir, Root) {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("sys/class/hwmon")).unwrap();
    fs::write(tree.join("sys/class/hwmon/name"), "ina3221\n").unwrap();
    fs::write(folder.path().join("secret"), "of another machine\n").unwrap();
    let root = Root::at(&tree).unwrap();
    (folder, root)
}

fn errno(error: &DeviceError) -> Option<i32> {
    error.io().and_then(std::io::Error::raw_os_error)
}

#[test]
fn a_captured_folder_is_read_and_written_as_plain_files() {
    let (folder, root) = captured();
    assert_eq!(root.text("/sys/class/hwmon/name").unwrap(), "ina3221");
    assert_eq!(root.list("/sys/class").unwrap(), ["hwmon"]);
    root.write("/sys/class/hwmon/name", "x").unwrap();
    let real = folder.path().join("tree/sys/class/hwmon/name");
    assert_eq!(fs::read_to_string(&real).unwrap(), "x\n", "cut behind the new value");
    // A control file is never made: the kernel has it, or it is not there.
    assert!(root.write("/sys/class/hwmon/new", "1").unwrap_err().is_absent());
    assert!(!folder.path().join("tree/sys/class/hwmon/new").exists());
    assert!(root.writable("/sys/class/hwmon/name").is_ok());
    assert!(root.writable("/sys/class/hwmon/new").unwrap_err().is_absent());
}

#[test]
fn no_path_of_a_captured_folder_leads_out_of_it() {
    let (folder, root) = captured();
    for path in ["/../secret", "/sys/../../secret", "/sys/class/../../../secret", "../secret"] {
        assert!(root.text(path).unwrap_err().is_absent(), "{path}");
        assert!(root.write(path, "gone").is_err(), "{path}");
        assert!(!root.exists(path), "{path}");
        assert!(root.open(path).is_err(), "{path}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("secret")).unwrap(), "of another machine\n");
}

#[test]
fn links_of_a_captured_folder_stay_in_it() {
    let (folder, root) = captured();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("sys/firmware/devicetree/base")).unwrap();
    fs::create_dir_all(tree.join("proc")).unwrap();
    fs::write(tree.join("sys/firmware/devicetree/base/model"), "a captured board\0").unwrap();
    // As the running system has it: an absolute link.
    symlink("/sys/firmware/devicetree/base", tree.join("proc/device-tree")).unwrap();
    assert_eq!(root.text("/proc/device-tree/model").unwrap(), "a captured board");
    assert_eq!(root.link("/proc/device-tree").unwrap(), "/sys/firmware/devicetree/base");

    symlink(folder.path().join("secret"), tree.join("sys/absolute")).unwrap();
    symlink("../../../../../../../../../../etc/passwd", tree.join("sys/relative")).unwrap();
    symlink("loop", tree.join("sys/loop")).unwrap();
    symlink("../class/hwmon", tree.join("sys/hwmon")).unwrap();
    for path in ["/sys/absolute", "/sys/relative"] {
        assert!(root.text(path).unwrap_err().is_absent(), "{path}");
        assert!(root.write(path, "gone").is_err(), "{path}");
    }
    assert_eq!(errno(&root.text("/sys/loop").unwrap_err()), Some(40), "a link to itself is ELOOP");
    assert!(root.text("/sys/hwmon/name").unwrap_err().is_absent(), "../class is /class, and not /sys/class");
    symlink("class/hwmon", tree.join("sys/right")).unwrap();
    assert_eq!(root.text("/sys/right/name").unwrap(), "ina3221");
    assert_eq!(root.matches("/sys/right/n*"), ["/sys/right/name"]);
}

#[test]
fn patterns_match_names_in_order_and_only_what_is_there() {
    let tree = MemoryTree::new();
    for n in [10, 2, 0] {
        tree.file(&format!("/sys/class/thermal/thermal_zone{n}/temp"), "40000", 0o444);
    }
    tree.file("/sys/class/thermal/thermal_zone1/type", "odd", 0o444);
    let root = Root::from_tree(Arc::new(tree), Source::System);
    let zones = root.matches("/sys/class/thermal/thermal_zone*/temp");
    assert_eq!(zones.len(), 3);
    assert!(zones.is_sorted());
    assert_eq!(root.matches("/sys/class/*/thermal_zone1*/type").len(), 1);
    assert_eq!(root.matches("/sys/class/hwmon/hwmon*"), [""; 0]);
    assert_eq!(root.matches("/sys/class/thermal"), ["/sys/class/thermal"]);
}

#[test]
fn numbers_and_texts_are_trimmed_and_what_is_none_says_what_it_holds() {
    let tree = MemoryTree::new();
    tree.insert("/model", Node::File { bytes: b"Jetson Nano\0".to_vec(), mode: 0o444 });
    tree.file("/n", " 42 ", 0o444);
    tree.file("/words", "a b c", 0o444);
    tree.insert("/bytes", Node::File { bytes: vec![0xff, b'1', b'\n'], mode: 0o444 });
    tree.insert("/empty", Node::File { bytes: Vec::new(), mode: 0o444 });
    let root = Root::from_tree(Arc::new(tree), Source::System);
    assert_eq!(root.text("/model").unwrap(), "Jetson Nano");
    assert_eq!(root.number::<u64>("/n").unwrap(), 42);
    let wrong = root.number::<u64>("/words").unwrap_err();
    assert_eq!(wrong.to_string(), "/words holds \"a b c\" instead of a number");
    assert!(!wrong.is_absent() && !wrong.is_permission());
    assert!(root.number::<u64>("/bytes").is_err() && root.number::<u64>("/empty").is_err());
    let absent = root.number::<u64>("/missing").unwrap_err();
    assert!(absent.is_absent() && absent.to_string().contains("cannot read /missing"), "{absent}");
}

#[test]
fn a_capture_is_opened_from_a_folder_a_text_an_unpacked_and_a_packed_archive() {
    let folder = tempfile::tempdir().unwrap();
    let text = "# footplate tree 1\n# reader: other\n/x 0600 = 1\n/y 0666 = 2\n";
    let file = folder.path().join("any.txt");
    fs::write(&file, text).unwrap();
    let unpacked = folder.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    fs::write(unpacked.join(FILE_NAME), text).unwrap();
    for path in [&file, &unpacked] {
        let root = Root::at(path).unwrap();
        assert!(root.text("/x").unwrap_err().is_permission(), "its reader was not root");
        assert_eq!(root.text("/y").unwrap(), "2");
        assert_eq!(*root.source(), Source::Capture(path.clone()));
        let refused = root.write("/y", "3").unwrap_err();
        assert_eq!(errno(&refused), Some(30), "a text is read-only: {refused}");
    }
    let broken = folder.path().join("broken.tar.gz");
    fs::write(&broken, "no archive").unwrap();
    assert!(Root::at(&broken).is_err());
    assert!(Root::at(Path::new("/nonexistent/capture")).unwrap_err().is_absent());
}

#[test]
fn an_open_node_is_read_anew_each_time() {
    let (folder, root) = captured();
    let mut probe = root.open("/sys/class/hwmon/name").unwrap();
    let mut text = String::from("old");
    probe.read(&mut text).unwrap();
    assert_eq!(text, "ina3221\n");
    fs::write(folder.path().join("tree/sys/class/hwmon/name"), "longer than before\n").unwrap();
    probe.read(&mut text).unwrap();
    assert_eq!(text, "longer than before\n");
}

#[test]
fn modes_decide_what_who_is_not_root_may_do() {
    let tree = |reader| {
        let text = "# footplate tree 1\n/open 0644 = 1\n/closed 0600 = 1\n/everyone 0666 = 1\n/shown 0444 = 1\n/closed_folder ! EACCES\n";
        Root::from_tree(Arc::new(MemoryTree::parse(text, "t", reader).unwrap()), Source::System)
    };
    let (root, other) = (tree(Reader::Root), tree(Reader::Other));
    for (path, read, write) in [
        ("/open", true, false),
        ("/closed", false, false),
        ("/everyone", true, true),
        ("/shown", true, false),
    ] {
        assert_eq!(other.text(path).is_ok(), read, "{path}");
        assert_eq!(other.writable(path).is_ok(), write, "{path}");
        assert!(root.text(path).is_ok(), "{path}: root passes modes");
    }
    assert!(root.writable("/closed").is_ok());
    assert!(root.writable("/shown").unwrap_err().is_permission(), "no store function: not even root");
    // What lies below a closed folder cannot be known, and that is not the same as not being there.
    assert!(root.tree().exists("/closed_folder/below").is_err());
    assert!(root.text("/closed_folder/below").unwrap_err().is_permission());
}
