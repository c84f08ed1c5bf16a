//! Layouts of folders of images: which files are found, in which class and split, and what is said of the others.
#![expect(clippy::disallowed_methods, reason = "tests make and read files")]
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use footplate_data::{DataError, Dataset, OpenOptions, Split, open};

/// Files are found by their names only; what they hold is not read.
fn folder(files: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        write(&root.path().join(file));
    }
    root
}

fn write(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, b"").unwrap();
}

fn opened(root: &Path) -> Result<Dataset, DataError> {
    open(root, &OpenOptions { validation_fraction: 0.0, ..OpenOptions::default() })
}

/// Classes, number of images for training and for validation, and warnings without the path of the root.
fn summary(root: &Path) -> (Vec<String>, usize, usize, Vec<String>) {
    let dataset = opened(root).unwrap();
    let Dataset::Images(images) = &dataset else { panic!("not images") };
    let prefix = format!("{}/", root.display());
    let warnings = dataset.warnings().iter().map(|warning| warning.replace(&prefix, "")).collect();
    let classes = images.classes().to_vec();
    (classes, dataset.len(Split::Train), dataset.len(Split::Validation), warnings)
}

#[test]
fn classes_and_splits_follow_from_the_folders() {
    let table: [(&[&str], &[&str], usize, usize); 9] = [
        (&["a/1.jpg", "b/1.png", "b/2.jpeg"], &["a", "b"], 3, 0),
        // Endings in any case, and folders inside class folders.
        (&["a/1.JPG", "a/x/y/2.Png", "b/1.JpEg"], &["a", "b"], 3, 0),
        // The names of the two splits.
        (&["train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg"], &["a", "b"], 2, 1),
        (&["train/a/1.jpg", "train/b/1.jpg", "valid/b/2.jpg"], &["a", "b"], 2, 1),
        (&["train/a/1.jpg", "train/b/1.jpg", "validation/b/2.jpg"], &["a", "b"], 2, 1),
        (&["train/a/1.jpg", "train/b/1.jpg", "test/b/2.jpg"], &["a", "b"], 2, 1),
        // `val` comes before `test`.
        (
            &["train/a/1.jpg", "train/b/1.jpg", "val/a/2.jpg", "test/b/3.jpg", "test/b/4.jpg"],
            &["a", "b"],
            2,
            1,
        ),
        // Without `train` all of them are classes, sorted by bytes as torchvision does.
        (&["val/1.jpg", "a/1.jpg", "B/1.jpg", "ä/1.jpg"], &["B", "a", "val", "ä"], 4, 0),
        // Hidden folders and files are none.
        (&["a/1.jpg", "b/1.jpg", ".git/1.jpg", "a/.thumb.jpg", "b/._1.jpg"], &["a", "b"], 2, 0),
    ];
    for (files, classes, train, validation) in table {
        let root = folder(files);
        let found = summary(root.path());
        assert_eq!(
            (found.0.as_slice(), found.1, found.2),
            (classes.map_str().as_slice(), train, validation),
            "{files:?}"
        );
        assert_eq!(found.3, [""; 0], "{files:?}");
    }
}

trait MapStr {
    fn map_str(&self) -> Vec<String>;
}

impl MapStr for &[&str] {
    fn map_str(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

#[test]
fn what_is_left_out_is_told() {
    let table: [(&[&str], &str); 5] = [
        (
            &["a/1.jpg", "b/1.jpg", "b/notes.txt", "b/1.gif"],
            "b: 2 files that are not .jpg, .jpeg or .png are left out",
        ),
        (&["a/1.jpg", "b/1.jpg", "c/x/notes.txt"], "c: a class folder without images is left out"),
        (
            &["a/1.jpg", "b/1.jpg", "2.jpg", "3.png", "4.txt"],
            "2 images outside the class folders are left out",
        ),
        (
            &["train/a/1.jpg", "train/b/1.jpg", "train/2.jpg"],
            "train: 1 images outside the class folders are left out",
        ),
        (
            &["train/a/1.jpg", "train/b/1.jpg", "val/a/x.bmp", "val/b/1.jpg"],
            "val/a: a class folder without images is left out",
        ),
    ];
    for (files, warning) in table {
        let root = folder(files);
        let warnings = summary(root.path()).3;
        assert!(warnings.iter().any(|said| said.contains(warning)), "{files:?}: {warnings:?}");
    }
}

#[test]
fn folders_that_cannot_be_trained_on_say_why() {
    let table: [(&[&str], &str); 7] = [
        (&[], "no images in it; expected CLASS/*.jpg"),
        (&["a/notes.txt"], "no images in it; expected CLASS/*.jpg"),
        (&["1.jpg", "2.jpg"], "2 images lie directly in "),
        (&["train/1.jpg", "val/a/1.jpg"], "1 images lie directly in "),
        (&["a/1.jpg", "a/2.jpg"], "1 class (a); a classifier needs at least two"),
        (&["train/a/1.jpg", "train/b/1.jpg", "val/c/1.jpg"], "class `c` is in the validation split only"),
        (&["train/a/1.jpg", "val/a/1.jpg"], "1 class (a); a classifier needs at least two"),
    ];
    for (files, reason) in table {
        let root = folder(files);
        let said = opened(root.path()).unwrap_err().to_string();
        assert!(said.contains(reason), "{files:?}: {said}");
        assert!(said.contains(&root.path().display().to_string()), "{said}");
    }
}

#[test]
fn loose_images_are_counted_with_advice() {
    let root = folder(&["dog1.jpg", "dog2.jpg", "cat1.png", "readme.txt"]);
    let error = opened(root.path()).unwrap_err();
    assert!(matches!(&error, DataError::LooseImages { count: 3, path } if path == root.path()));
    let path = root.path().display();
    assert!(
        error.to_string().ends_with(&format!("put each class in its own folder: {path}/cat/…, {path}/dog/…"))
    );
}

#[test]
fn links_are_followed_and_names_may_be_any_bytes() {
    let root = folder(&["a/1.jpg", "b/1.jpg"]);
    let elsewhere = folder(&["2.jpg", "deep/3.jpg"]);
    symlink(elsewhere.path(), root.path().join("a/link")).unwrap();
    symlink(elsewhere.path().join("2.jpg"), root.path().join("b/2.jpg")).unwrap();
    symlink("nowhere", root.path().join("b/broken.jpg")).unwrap();
    write(&root.path().join("b").join(OsStr::from_bytes(b"\xff\xfe.jpg")));
    let (classes, train, _, warnings) = summary(root.path());
    // A link that leads nowhere counts as an image; it will be a bad sample.
    assert_eq!((classes.len(), train, warnings.len()), (2, 7, 0), "{warnings:?}");
}

#[test]
fn the_order_of_samples_does_not_depend_on_the_order_of_directory_entries() {
    let forwards = folder(&["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/x/0.jpg"]);
    let backwards = folder(&["b/x/0.jpg", "b/1.jpg", "a/2.jpg", "a/1.jpg"]);
    let fingerprint = |root: &Path| opened(root).unwrap().fingerprint();
    assert_eq!(fingerprint(forwards.path()), fingerprint(backwards.path()));
    write(&backwards.path().join("a/3.jpg"));
    assert_ne!(fingerprint(forwards.path()), fingerprint(backwards.path()));
}

#[test]
fn a_path_that_is_not_there_is_an_error_of_the_system_with_the_path() {
    let root = folder(&[]);
    let path = root.path().join("missing");
    let error = opened(&path).unwrap_err();
    assert!(matches!(&error, DataError::Io { path: told, .. } if *told == path));
    assert!(!error.is_permission() && error.to_string().starts_with("cannot read "));
}
