//! The facts of every board, against each other and against the trees of boards in `tests/fixtures`.

use std::collections::BTreeSet;

use footplate_device::board::{
    self, BOARDS, BoardFacts, EmcPaths, Kernel, Module, Odd, PowerGate, Release, SensorKind, Soc, TotalRule,
    by_compatible, by_id, matches_kind,
};
use footplate_device::parse::L4t;

/// Every release with its board, and what to call it in a failure.
fn releases() -> impl Iterator<Item = (&'static BoardFacts, &'static Release, String)> {
    let of = |board: &'static BoardFacts| {
        board.releases.iter().map(move |release| (board, release, format!("{}@{}", board.id, release.id)))
    };
    BOARDS.into_iter().flat_map(of)
}

fn module(board: &BoardFacts, release: &Release) -> &'static Module {
    let modules: &'static [Module] = board.modules;
    &modules[release.module]
}

fn is_ascending(table: &[u64]) -> bool {
    !table.is_empty() && table[0] > 0 && table.windows(2).all(|pair| pair[0] < pair[1])
}

#[test]
fn names_of_boards_releases_and_modules_are_each_given_once() {
    let ids: BTreeSet<&str> = BOARDS.iter().map(|board| board.id).collect();
    assert_eq!(ids.len(), BOARDS.len());
    for board in BOARDS {
        assert_eq!(by_id(board.id).map(|found| found.name), Some(board.name));
        let releases: BTreeSet<&str> = board.releases.iter().map(|release| release.id).collect();
        assert_eq!(releases.len(), board.releases.len(), "{}", board.id);
        let parts: Vec<&str> = board.modules.iter().flat_map(|module| module.parts.iter().copied()).collect();
        assert_eq!(parts.iter().collect::<BTreeSet<_>>().len(), parts.len(), "{}", board.id);
    }
    assert!(by_id("tx3").is_none() && by_id("TX2").is_none() && by_id("").is_none());
}

#[test]
fn the_newest_release_comes_first_and_is_the_one_without_a_name() {
    for board in BOARDS {
        assert!(board.releases.windows(2).all(|pair| pair[0].l4t >= pair[1].l4t), "{}", board.id);
        assert_eq!(board.release(None).map(|release| release.id), board.releases.first().map(|r| r.id));
        for release in board.releases {
            assert_eq!(board.release(Some(release.id)).map(|found| found.l4t), Some(release.l4t));
            assert!(release.id.starts_with(&format!("r{}", release.l4t)), "{}: {}", board.id, release.id);
        }
        assert!(board.release(Some("r1")).is_none());
    }
}

#[test]
fn each_release_is_recognised_by_what_its_device_tree_says() {
    for (board, release, name) in releases() {
        let (found, module) = by_compatible(release.compatible).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(found.id, board.id, "{name}");
        let expected = &board.modules[release.module];
        assert_eq!(module.map(|module| module.name), Some(expected.name), "{name}");
    }
}

#[test]
fn a_module_that_is_made_to_behave_as_another_counts_as_the_other() {
    let emulated = ["nvidia,p3737-0000+p3701-0000-as-p3767-0000", "nvidia,p3701-0000", "nvidia,tegra234"];
    let (board, module) = by_compatible(&emulated).unwrap();
    assert_eq!(board.id, "orin-nx");
    assert!(module.is_some_and(|module| module.name.contains("16GB")), "{module:?}");
    for strange in [&["raspberrypi,4-model-b", "brcm,bcm2711"][..], &["nvidia,tegra234"], &[]] {
        assert!(by_compatible(strange).is_none(), "{strange:?}");
    }
}

#[test]
fn tables_ascend_and_end_at_what_the_module_can_do() {
    for (board, release, name) in releases() {
        let module = module(board, release);
        assert!(is_ascending(release.cpu_khz), "{name}: CPU");
        assert!(is_ascending(release.gpu_hz), "{name}: GPU");
        // The modes named super clock the module higher than it was sold for.
        let within = release.gpu_hz.last() <= Some(&module.gpu_max_hz);
        assert!(within || release.id.ends_with("-super"), "{name}: GPU above the module's maximum");
        if release.emc != EmcPaths::None {
            assert!(is_ascending(release.emc_hz), "{name}: EMC");
            assert!(release.emc_hz.last() <= Some(&module.emc_max_hz), "{name}: EMC above its maximum");
        }
        // kHz and Hz are not mixed up: no CPU clock of these boards is below 30 MHz or above 4 GHz.
        assert!(release.cpu_khz.iter().all(|khz| (30_000..4_000_000).contains(khz)), "{name}");
        assert!(release.gpu_hz.iter().all(|hz| (70_000_000..2_000_000_000).contains(hz)), "{name}");
    }
}

#[test]
fn every_core_of_every_module_has_its_cluster_and_its_turn() {
    for board in BOARDS {
        for module in board.modules {
            let mut cores: Vec<u32> = module.clusters.iter().flat_map(|c| c.iter().copied()).collect();
            cores.sort_unstable();
            assert_eq!(cores, (0..module.cores()).collect::<Vec<u32>>(), "{}", module.name);
            assert!(module.clusters.iter().all(|cluster| !cluster.is_empty()), "{}", module.name);
            let missing: Vec<&u32> = cores.iter().filter(|cpu| !board.cpu_order.contains(cpu)).collect();
            assert!(missing.is_empty(), "{}: {missing:?} have no turn", module.name);
        }
        assert_eq!(board.cpu_order.first(), Some(&0), "{}: cpu0 is never switched off", board.id);
        let turns: BTreeSet<&u32> = board.cpu_order.iter().collect();
        assert_eq!(turns.len(), board.cpu_order.len(), "{}", board.id);
    }
}

#[test]
fn stock_modes_are_within_their_module_and_one_is_the_default() {
    for (board, release, name) in releases().filter(|(_, release, _)| !release.stock_modes.is_empty()) {
        let module = module(board, release);
        assert_eq!(release.stock_modes.iter().filter(|mode| mode.default).count(), 1, "{name}");
        let ids: BTreeSet<u32> = release.stock_modes.iter().map(|mode| mode.id).collect();
        assert_eq!(ids.len(), release.stock_modes.len(), "{name}");
        for mode in release.stock_modes {
            let what = format!("{name}, {}", mode.name);
            assert!(mode.cores.contains(&0) && mode.cores.iter().all(|cpu| *cpu < module.cores()), "{what}");
            let ordered = |(min, max): (u64, Option<u64>)| max.is_none_or(|max| min <= max);
            assert!(ordered(mode.cpu_khz) && ordered(mode.gpu_hz), "{what}: a minimum above its maximum");
            assert!(mode.emc_hz.is_none_or(|hz| hz <= module.emc_max_hz), "{what}");
            assert!(!mode.name.contains(char::is_whitespace), "{what}");
        }
    }
}

#[test]
fn a_totals_rails_are_rails_of_every_release() {
    for (board, release, name) in releases() {
        let labels: Vec<&str> =
            release.sensors.iter().flat_map(|chip| chip.channels.iter().map(|c| c.label)).collect();
        match board.total {
            TotalRule::Rail(rails) => assert!(rails.iter().any(|rail| labels.contains(rail)), "{name}"),
            TotalRule::Sum(rails) => assert!(rails.iter().all(|rail| labels.contains(rail)), "{name}"),
            TotalRule::None => panic!("{name}: every one of these boards measures its power"),
        }
        assert!(!board.total_note.is_empty(), "{name}: what the total leaves out is told");
    }
}

#[test]
fn sensors_have_a_place_on_a_bus_and_at_most_three_channels() {
    for (_, release, name) in releases() {
        let addresses: BTreeSet<&str> = release.sensors.iter().map(|chip| chip.bus_address).collect();
        assert_eq!(addresses.len(), release.sensors.len(), "{name}: two chips at one address");
        for chip in release.sensors {
            let (bus, address) = chip.bus_address.split_once('-').unwrap();
            assert!(bus.parse::<u8>().is_ok() && u16::from_str_radix(address, 16).is_ok(), "{name}");
            assert!((1..=3).contains(&chip.channels.len()), "{name}: {}", chip.bus_address);
            assert!(chip.samples > 0 && chip.conversion_us > 0, "{name}");
            let old = release.kernel <= Kernel::K4_9;
            assert_eq!(chip.kind == SensorKind::Ina3221Iio, old, "{name}: iio is the driver up to R32");
        }
    }
}

#[test]
fn trips_come_in_their_order() {
    for (_, release, name) in releases() {
        for zone in release.zones {
            let trips = [zone.passive_mc, zone.hot_mc, zone.critical_mc];
            let set: Vec<i32> = trips.into_iter().filter(|trip| *trip != 0).collect();
            assert!(set.is_sorted(), "{name}, {}: {trips:?}", zone.name);
            assert!(set.iter().all(|mc| (40_000..130_000).contains(mc)), "{name}, {}: {trips:?}", zone.name);
            if let Odd::Constant(mc) = zone.odd {
                assert!(zone.passive_mc == 0, "{name}: a constant of {mc} never reaches a trip");
            }
        }
        let begins = release.zones.iter().any(|zone| zone.passive_mc > 0);
        assert_eq!(begins, release.l4t < 38, "{name}: where throttling begins is not published for R38");
    }
}

#[test]
fn a_cooling_device_means_throttling_or_nothing_and_never_both() {
    let fits = |patterns: &[&str], kind: &str| patterns.iter().any(|p| matches_kind(p, kind));
    for (board, release, name) in releases() {
        for kind in release.cooling {
            let throttles = fits(board.throttling_cooling, kind);
            let harmless = fits(board.harmless_cooling, kind);
            assert!(throttles != harmless, "{name}: {kind} (throttles {throttles}, harmless {harmless})");
            assert_eq!(board.throttles(kind), throttles, "{name}: {kind}");
        }
    }
    // A PC's fan is no throttling, its processor's states are.
    let generic = &board::GENERIC;
    assert!(fits(generic.throttling_cooling, "Processor") && !fits(generic.throttling_cooling, "Fan"));
}

#[test]
fn what_a_release_line_says_is_read_back() {
    for (board, release, name) in releases() {
        let l4t = L4t::parse(&release.release_line(board.id)).unwrap_or_else(|| panic!("{name}"));
        assert_eq!((l4t.major, l4t.revision.as_str()), (release.l4t, release.revision), "{name}");
        assert!(l4t.jetpack().is_some(), "{name}");
    }
}

#[test]
fn the_kernel_of_a_release_decides_what_its_files_are() {
    for (board, release, name) in releases() {
        let old = release.kernel <= Kernel::K4_9;
        assert_eq!(release.kernel.refuses_min_above_max(), old, "{name}");
        assert_eq!(release.l4t <= 32, old, "{name}: R28 and R32 have 4.4 and 4.9");
        let cap = release.emc_cap();
        assert_eq!(cap.is_none(), release.emc == EmcPaths::None, "{name}");
        if let Some(cap) = cap {
            let moved = release.l4t >= 36;
            assert_eq!(cap.uncapped, if moved { "-1" } else { "0" }, "{name}");
            assert_eq!(cap.path.ends_with("nvpmodel_clk_cap/emc"), moved, "{name}");
        }
        let runtime = release.gpu.power == PowerGate::RuntimePm;
        assert_eq!(runtime, release.l4t >= 36, "{name}: railgate_enable went with R36");
        assert_eq!(release.emc == EmcPaths::ClkOverride, board.soc == Soc::T210, "{name}");
    }
}

#[test]
fn power_is_roots_from_r32_5_to_r35() {
    for (_, release, name) in releases() {
        let open = release.sensor_mode() & 0o004 != 0;
        let revision: f32 = release.revision.parse().unwrap();
        let closed = (release.l4t == 32 && revision >= 5.0) || (33..=35).contains(&release.l4t);
        assert_eq!(open, !closed, "{name}");
    }
}

#[test]
fn peak_rates_are_those_of_the_data_sheets() {
    // Single-precision GFLOP/s at the highest GPU clock, and GB/s at the highest EMC clock, as published.
    for (id, gflops, gb_per_s) in [
        ("tx1", 511.0, 25.6),
        ("tx2", 665.0, 59.7),
        ("nano", 236.0, 25.6),
        ("xavier-nx", 845.0, 59.7),
        ("agx-xavier", 1410.0, 136.5),
        ("orin-nano", 2089.0, 102.4),
        ("agx-orin", 5325.0, 204.8),
    ] {
        let board = by_id(id).unwrap();
        let module = &board.modules[0];
        let flops = module.fp32_flops(module.gpu_max_hz) / 1e9;
        let bandwidth = module.bandwidth(module.emc_max_hz) / 1e9;
        assert!((flops / gflops - 1.0).abs() < 0.03, "{id}: {flops} GFLOP/s against {gflops}");
        assert!((bandwidth / gb_per_s - 1.0).abs() < 0.03, "{id}: {bandwidth} GB/s against {gb_per_s}");
    }
    for board in BOARDS {
        for module in board.modules {
            let fp16 = module.fp16_flops(module.gpu_max_hz);
            assert!(
                fp16.is_none_or(|fp16| fp16 >= module.fp32_flops(module.gpu_max_hz)),
                "{}: half precision is not slower",
                module.name
            );
        }
    }
}

#[test]
fn what_is_assumed_or_unchecked_is_said_in_words() {
    for (_, release, name) in releases() {
        assert!(release.assumed.iter().all(|text| text.len() > 10), "{name}: {:?}", release.assumed);
    }
    for board in BOARDS {
        assert!(board.unchecked.iter().all(|text| text.len() > 10), "{}", board.id);
    }
}
