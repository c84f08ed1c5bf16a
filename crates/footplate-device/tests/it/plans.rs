//! Write plans as lists of lines: the order that both generations of kernels take, and nothing that need not be written.

use std::sync::Arc;

use footplate_core::{Hertz, PowerMode};
use footplate_device::knob::emc::EmcTarget;
use footplate_device::knob::{Hold, ModeTarget, Range, Snapshot, plan, plan_restore};
use footplate_device::memory_tree::MemoryTree;
use footplate_device::{Device, Root, Source};
use proptest::prelude::*;

use crate::common::{boards, cold};

const CPU: &str = "/sys/devices/system/cpu";
const GPU: &str = "/sys/class/devfreq/17000000.gp10b";

/// Two clusters of two cores, a GPU, and no memory controller: what plans are made of, in a few lines.
fn machine(online: [u8; 4], cpu: [(u64, u64); 2], gpu: (u64, u64)) -> Device {
    let tree = MemoryTree::new();
    tree.file(&format!("{CPU}/present"), "0-3", 0o444);
    for (n, on) in (0..).zip(online) {
        if n > 0 {
            tree.file(&format!("{CPU}/cpu{n}/online"), &on.to_string(), 0o644);
        }
    }
    for (policy, (min, max)) in [0, 2].into_iter().zip(cpu) {
        let folder = format!("{CPU}/cpufreq/policy{policy}");
        tree.file(&format!("{folder}/related_cpus"), &format!("{policy} {}", policy + 1), 0o444);
        tree.file(&format!("{folder}/scaling_available_frequencies"), "100 200 300 400", 0o444);
        tree.file(&format!("{folder}/scaling_min_freq"), &min.to_string(), 0o644);
        tree.file(&format!("{folder}/scaling_max_freq"), &max.to_string(), 0o644);
    }
    tree.file(&format!("{GPU}/available_frequencies"), "1000 2000 3000", 0o444);
    tree.file(&format!("{GPU}/min_freq"), &gpu.0.to_string(), 0o644);
    tree.file(&format!("{GPU}/max_freq"), &gpu.1.to_string(), 0o644);
    tree.file(&format!("{GPU}/device/railgate_enable"), "1", 0o644);
    Device::discover(Root::from_tree(Arc::new(tree), Source::System))
}

fn full() -> Device {
    machine([1; 4], [(100, 400); 2], (1000, 3000))
}

/// The writes of a plan without the folders that all of them have.
fn lines(device: &Device, target: &ModeTarget) -> Vec<String> {
    let writes = plan(device, &Snapshot::read(&device.root, device), target);
    short(writes.iter().map(ToString::to_string))
}

fn short(writes: impl Iterator<Item = String>) -> Vec<String> {
    writes
        .map(|write| {
            write
                .replace(&format!("{CPU}/cpufreq/"), "")
                .replace(&format!("{CPU}/"), "")
                .replace(&format!("{GPU}/"), "gpu/")
                .replace("scaling_", "")
        })
        .collect()
}

fn cpu(min: u64, max: u64) -> ModeTarget {
    ModeTarget { cpu_khz: Some(Range { min, max }), ..ModeTarget::default() }
}

fn gpu(min: u64, max: u64) -> ModeTarget {
    ModeTarget { gpu_hz: Some(Range { min, max }), ..ModeTarget::default() }
}

#[test]
fn raising_writes_the_maximum_first_and_lowering_the_minimum() {
    let low = machine([1; 4], [(100, 200); 2], (1000, 1000));
    assert_eq!(
        lines(&low, &cpu(300, 400)),
        [
            "400 > policy0/max_freq",
            "300 > policy0/min_freq",
            "400 > policy2/max_freq",
            "300 > policy2/min_freq"
        ]
    );
    let high = machine([1; 4], [(300, 400); 2], (3000, 3000));
    assert_eq!(
        lines(&high, &cpu(100, 200))[..2],
        ["100 > policy0/min_freq".to_owned(), "200 > policy0/max_freq".to_owned()]
    );
}

#[test]
fn a_cluster_that_comes_on_has_unknown_limits_and_gets_its_ceiling_first() {
    let half = machine([1, 1, 0, 0], [(100, 200), (100, 400)], (1000, 3000));
    let target = ModeTarget { online: Some(vec![0, 1, 2, 3]), ..cpu(200, 300) };
    assert_eq!(
        lines(&half, &target),
        [
            "1 > cpu2/online",
            "1 > cpu3/online",
            "300 > policy0/max_freq",
            "200 > policy0/min_freq",
            "400 > policy2/max_freq",
            "200 > policy2/min_freq",
            "300 > policy2/max_freq"
        ]
    );
    let top = ModeTarget { online: Some(vec![0, 1, 2, 3]), ..cpu(400, 400) };
    let writes = lines(&half, &top);
    assert_eq!(writes[4..], ["400 > policy2/max_freq".to_owned(), "400 > policy2/min_freq".to_owned()]);
}

#[test]
fn cores_come_on_before_others_go_off_and_clusters_without_a_core_are_not_written() {
    let device = machine([1, 0, 1, 1], [(100, 400); 2], (1000, 3000));
    let target = ModeTarget { online: Some(vec![0, 1]), ..cpu(200, 200) };
    assert_eq!(
        lines(&device, &target),
        [
            "1 > cpu1/online",
            "0 > cpu3/online",
            "0 > cpu2/online",
            "200 > policy0/min_freq",
            "200 > policy0/max_freq"
        ]
    );
    // cpu0 has no `online` file: it is never switched, whatever is asked.
    let none = ModeTarget { online: Some(vec![]), ..ModeTarget::default() };
    assert_eq!(lines(&device, &none), ["0 > cpu3/online", "0 > cpu2/online"]);
}

#[test]
fn the_gpu_is_powered_while_its_limits_are_written() {
    let device = full();
    assert_eq!(
        lines(&device, &gpu(2000, 2000)),
        ["0 > gpu/device/railgate_enable", "2000 > gpu/min_freq", "2000 > gpu/max_freq"]
    );
    // Limits that leave the clock free leave the power to the driver, as it was.
    assert_eq!(
        lines(&device, &gpu(1000, 2000)),
        [
            "0 > gpu/device/railgate_enable",
            "1000 > gpu/min_freq",
            "2000 > gpu/max_freq",
            "1 > gpu/device/railgate_enable"
        ]
    );
}

#[test]
fn nothing_wanted_is_nothing_written() {
    for name in boards() {
        let device = Device::discover(cold(&name).root());
        let present = Snapshot::read(&device.root, &device);
        assert_eq!(plan(&device, &present, &ModeTarget::default()), [], "{name}");
        assert_eq!(plan_restore(&device, &present, &present), [], "{name}: nothing changed");
    }
}

#[test]
fn a_clock_between_two_entries_is_rounded_down_within_each_clusters_table() {
    assert_eq!(
        lines(&full(), &cpu(250, 399))[..2],
        ["200 > policy0/min_freq".to_owned(), "300 > policy0/max_freq".to_owned()]
    );
    assert_eq!(
        lines(&full(), &cpu(1, 1))[..2],
        ["100 > policy0/min_freq".to_owned(), "100 > policy0/max_freq".to_owned()],
        "below the table means its first entry"
    );
}

#[test]
fn the_way_back_is_in_the_reverse_order_and_writes_what_changed_only() {
    let device = machine([1, 1, 0, 0], [(200, 200), (100, 400)], (2000, 2000));
    let now = Snapshot::read(&device.root, &device);
    let before = machine([1, 1, 1, 0], [(100, 400); 2], (2000, 2000));
    let saved = Snapshot::read(&before.root, &before);
    let writes = short(plan_restore(&device, &now, &saved).iter().map(ToString::to_string));
    assert_eq!(
        writes,
        [
            "1 > cpu2/online",
            "400 > policy0/max_freq",
            "100 > policy0/min_freq",
            "400 > policy2/max_freq",
            "100 > policy2/min_freq"
        ]
    );
}

/// Its limits were changed while a mode had it on; it is off now as it was before.
#[test]
fn a_cluster_that_is_off_comes_on_for_a_moment_to_get_its_limits_back() {
    let device = machine([1, 1, 0, 0], [(100, 400), (400, 400)], (1000, 3000));
    let before = machine([1, 1, 0, 0], [(100, 400); 2], (1000, 3000));
    let (now, saved) = (Snapshot::read(&device.root, &device), Snapshot::read(&before.root, &before));
    let writes = short(plan_restore(&device, &now, &saved).iter().map(ToString::to_string));
    assert_eq!(
        writes,
        ["1 > cpu2/online", "400 > policy2/max_freq", "100 > policy2/min_freq", "0 > cpu2/online"]
    );
    // What it has now is not known: nothing says that it must be touched.
    let mut unknown = now.clone();
    unknown.values.retain(|path, _| !path.contains("policy2"));
    assert_eq!(plan_restore(&device, &unknown, &saved), []);
}

#[test]
fn holding_still_raises_the_lower_limit_and_limiting_leaves_it_at_the_bottom() {
    let device = full();
    let mode = PowerMode {
        cpu_hz: Some(Hertz(300_000)),
        gpu_hz: Some(Hertz(2000)),
        cpu_cores: Some(2),
        ..PowerMode::default()
    };
    let pinned = ModeTarget::of(&device, &mode, Hold::Pinned);
    assert_eq!(pinned.cpu_khz, Some(Range { min: 300, max: 300 }));
    assert_eq!(pinned.gpu_hz, Some(Range { min: 2000, max: 2000 }));
    assert_eq!(pinned.online, Some(vec![0, 1]));
    let limited = ModeTarget::of(&device, &mode, Hold::Limited);
    assert_eq!(limited.cpu_khz, Some(Range { min: 100, max: 300 }));
    assert_eq!(limited.gpu_hz, Some(Range { min: 1000, max: 2000 }));
    assert_eq!(ModeTarget::of(&device, &PowerMode::default(), Hold::Pinned), ModeTarget::default());
}

/// The memory controller, as each generation of chips has it.
#[test]
fn the_emc_is_locked_capped_and_freed_by_the_nodes_of_its_chip() {
    let emc = |name: &str, target: EmcTarget| -> Vec<String> {
        let device = Device::discover(cold(name).root());
        let present = Snapshot::read(&device.root, &device);
        let target = ModeTarget { emc: Some(target), ..ModeTarget::default() };
        let writes = plan(&device, &present, &target);
        writes.iter().map(|w| format!("{} > {}", w.value, w.path.rsplit('/').next().unwrap())).collect()
    };
    let hz = 1_600_000_000;
    // The present clock is idle and lower: raising lifts the cap first.
    assert_eq!(
        emc("nano", EmcTarget::Lock(hz)),
        ["1600000000 > emc_iso_cap", "1600000000 > clk_update_rate", "1 > clk_state"]
    );
    assert_eq!(
        emc("agx-xavier@r32", EmcTarget::Lock(hz)),
        ["1600000000 > emc_iso_cap", "1 > mrq_rate_locked", "1 > state", "1600000000 > rate"]
    );
    assert_eq!(
        emc("agx-orin@r36", EmcTarget::Lock(2_133_000_000)),
        ["2133000000 > emc", "1 > bwmgr_halt", "1 > mrq_rate_locked", "1 > state", "2133000000 > rate"]
    );
    assert_eq!(emc("agx-orin@r36", EmcTarget::Free), ["-1 > emc"]);
    assert_eq!(emc("agx-orin@r35", EmcTarget::Free), ["0 > emc_iso_cap"]);
    assert_eq!(emc("nano", EmcTarget::Cap(204_000_000)), ["204000000 > emc_iso_cap"]);
    let above = emc("nano", EmcTarget::Cap(9_999_000_000));
    assert_eq!(above, ["0 > emc_iso_cap"], "a cap at the top is none");
}

#[test]
fn a_lock_that_someone_else_held_is_put_back_as_it_was_held() {
    let board = cold("agx-orin@r35");
    let device = Device::discover(board.root());
    let read = || Snapshot::read(&device.root, &device);
    let perform = |writes: &[footplate_device::knob::Write]| {
        for write in writes {
            device.root.write(&write.path, &write.value).unwrap();
        }
    };
    let lock = |hz| ModeTarget { emc: Some(EmcTarget::Lock(hz)), ..ModeTarget::default() };
    perform(&plan(&device, &read(), &lock(665_600_000)));
    let before = read();
    perform(&plan(&device, &read(), &lock(3_199_000_000)));
    assert_ne!(read(), before);
    let back = plan_restore(&device, &read(), &before);
    perform(&back);
    let rate = device.emc.as_ref().unwrap().rate_path();
    assert_eq!(read().number(&rate), Some(665_600_000));
    assert_eq!(read().number("/sys/kernel/debug/bpmp/debug/bwmgr/bwmgr_halt"), Some(1), "still held");
    assert_eq!(plan_restore(&device, &read(), &before), []);
}

fn limits() -> impl Strategy<Value = (u64, u64)> {
    (0usize..4, 0usize..4).prop_map(|(a, b)| {
        let table = [100, 200, 300, 400];
        (table[a.min(b)], table[a.max(b)])
    })
}

proptest! {
    /// Whatever a pair of limits is and shall be, no single write leaves the minimum above the maximum.
    #[test]
    fn after_each_single_write_the_minimum_is_not_above_the_maximum(
        present in (limits(), limits()),
        wanted in limits(),
        online in proptest::array::uniform3(0u8..2),
        wish in proptest::array::uniform3(proptest::bool::ANY),
    ) {
        let device = machine([1, online[0], online[1], online[2]], [present.0, present.1], (1000, 3000));
        let cores = (1..).zip(wish).filter(|(_, on)| *on).map(|(n, _)| n);
        let cores: Vec<u32> = std::iter::once(0).chain(cores).collect();
        let target = ModeTarget { online: Some(cores.clone()), ..cpu(wanted.0, wanted.1) };
        for write in plan(&device, &Snapshot::read(&device.root, &device), &target) {
            device.root.write(&write.path, &write.value).unwrap();
            for policy in &device.cpu.policies {
                let number = |file: &str| device.root.number::<u64>(&format!("{}/{file}", policy.path)).unwrap();
                prop_assert!(number("scaling_min_freq") <= number("scaling_max_freq"), "{}", write);
            }
        }
        let now = Snapshot::read(&device.root, &device);
        for policy in device.cpu.policies.iter().filter(|p| p.cpus.iter().any(|cpu| cores.contains(cpu))) {
            let got = footplate_device::knob::cpu::limits(policy, &now);
            prop_assert_eq!(got, Some(Range { min: wanted.0, max: wanted.1 }));
        }
    }

    /// A plan leads to its target, and the way back to where it began, whatever both are.
    #[test]
    fn there_and_back_again_changes_nothing(
        present in (limits(), limits()),
        wanted in limits(),
        gpu_now in 0usize..3,
        gpu_wanted in 0usize..3,
        cores in 1u32..5,
    ) {
        let hz = [1000, 2000, 3000];
        let device = machine([1; 4], [present.0, present.1], (1000, hz[gpu_now]));
        let before = Snapshot::read(&device.root, &device);
        let target = ModeTarget {
            online: Some(device.cpu.first(cores)),
            gpu_hz: Some(Range { min: hz[gpu_wanted], max: hz[gpu_wanted] }),
            ..cpu(wanted.0, wanted.1)
        };
        let perform = |writes: Vec<footplate_device::knob::Write>| {
            writes.iter().for_each(|write| device.root.write(&write.path, &write.value).unwrap());
        };
        perform(plan(&device, &before, &target));
        perform(plan_restore(&device, &Snapshot::read(&device.root, &device), &before));
        prop_assert_eq!(Snapshot::read(&device.root, &device), before);
    }
}
