//! `footplate kernels`. With the feature `autotune` it needs a Vulkan driver; Mesa's lavapipe will do.

use crate::place::{Place, assert_fails};

#[cfg(not(feature = "autotune"))]
#[test]
fn a_program_without_the_feature_says_so() {
    let place = Place::new();
    for arguments in [&["kernels"][..], &["kernels", "export", "file"], &["kernels", "import", "file"]] {
        assert_fails(&mut place.footplate(arguments), 4, &["built without", "--features autotune"]);
    }
}

#[cfg(feature = "autotune")]
mod with_autotune {
    use std::fs;

    use footplate_core::{Record, runlog};

    use super::*;
    use crate::place::{assert_ok, text};

    /// The most choices that a run's log tells of.
    fn tuned(place: &Place, run: &str) -> u64 {
        let log = fs::read_to_string(place.path(run).join("records.jsonl")).unwrap();
        let records = log.lines().map(|line| runlog::decode(line).unwrap());
        let tuned = records.filter_map(|r| if let Record::Kernels(k) = r { Some(k.tuned) } else { None });
        tuned.max().unwrap_or(0)
    }

    #[test]
    fn what_was_measured_once_is_not_measured_again_here_or_where_it_is_carried() {
        let place = Place::new();
        let train = |run: &str, cache: &str| {
            let more = ["--device", "vulkan", "--max-steps", "1", "--cache-dir", cache];
            place.train(run, &more).output().unwrap()
        };
        let first = train("first", "here");
        if first.status.code() == Some(4) && std::env::var_os("FOOTPLATE_REQUIRE_VULKAN").is_none() {
            return;
        }
        assert_ok(&first);
        assert!(tuned(&place, "first") > 0);
        assert!(text(&first.stderr).contains("tuning kernels: "), "{}", text(&first.stderr));
        assert_ok(&train("second", "here"));
        assert_eq!(tuned(&place, "second"), 0);
        let kernels = |arguments: &[&str], cache: &str| {
            let arguments = [&["kernels", "--cache-dir", cache], arguments].concat();
            let output = place.footplate(&arguments).output().unwrap();
            assert_ok(&output);
            text(&output.stdout)
        };
        let kept = kernels(&[], "here");
        assert!(kept.contains("choices   ") && !kept.contains("choices   0"), "{kept}");
        assert!(kernels(&["export", "carried"], "here").contains("choices for"));
        assert!(kernels(&["import", "carried"], "there").contains("new entries"));
        assert_ok(&train("third", "there"));
        assert_eq!(tuned(&place, "third"), 0);
        let data = "data/classes.txt";
        fs::write(place.path(data), "red\n").unwrap();
        let other = ["kernels", "--cache-dir", "there", "import", data];
        assert_fails(&mut place.footplate(&other), 3, &["classes.txt: no file that `kernels export` wrote"]);
    }
}
