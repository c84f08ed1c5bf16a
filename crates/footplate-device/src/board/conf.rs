//! The text of nvpmodel's configuration for a release's stock modes, built from their facts in our own words.
//!
//! Simulated boards carry it; a real board's file is read from the board.

use std::fmt::Write;

use super::{BoardFacts, Module, Release};

/// The path under which the tools find the configuration.
pub const CONF_PATH: &str = "/etc/nvpmodel.conf";

/// The configuration; `None` where the stock modes are not known.
pub fn stock_conf(board: &BoardFacts, release: &Release) -> Option<String> {
    if release.stock_modes.is_empty() {
        return None;
    }
    let module = &board.modules[release.module];
    let mut text = String::from("# stock modes, written by footplate for a simulated board\n\n");
    params(&mut text, module, release);
    for mode in release.stock_modes {
        let limit = |value: Option<u64>| value.map_or_else(|| "-1".to_owned(), |v| v.to_string());
        let _ = writeln!(text, "\n< POWER_MODEL ID={} NAME={} >", mode.id, mode.name);
        for core in module.clusters.iter().flat_map(|cluster| cluster.iter()).filter(|core| **core != 0) {
            let online = u8::from(mode.cores.contains(core));
            let _ = writeln!(text, "CPU_ONLINE CORE_{core} {online}");
        }
        if let Some(mask) = mode.tpc_mask {
            let _ = writeln!(text, "TPC_POWER_GATING TPC_PG_MASK {mask}");
        }
        if let Some(mask) = mode.fbp_mask {
            let _ = writeln!(text, "FBP_POWER_GATING FBP_PG_MASK {mask}");
        }
        for index in 0..module.clusters.len() {
            let (min, max) = (mode.cpu_khz.0, limit(mode.cpu_khz.1));
            let _ = writeln!(text, "CPU_CLUSTER_{index} MIN_FREQ {min}\nCPU_CLUSTER_{index} MAX_FREQ {max}");
        }
        let _ = writeln!(text, "GPU MIN_FREQ {}\nGPU MAX_FREQ {}", mode.gpu_hz.0, limit(mode.gpu_hz.1));
        let uncapped = if release.l4t >= 36 { "-1" } else { "0" };
        let emc = mode.emc_hz.map_or_else(|| uncapped.to_owned(), |hz| hz.to_string());
        let _ = writeln!(text, "EMC MAX_FREQ {emc}");
    }
    let default = release.stock_modes.iter().find(|mode| mode.default).or(release.stock_modes.first())?;
    let _ = writeln!(text, "\n< PM_CONFIG DEFAULT={} >", default.id);
    Some(text)
}

fn params(text: &mut String, module: &Module, release: &Release) {
    let cpu = "/sys/devices/system/cpu";
    text.push_str("< PARAM TYPE=FILE NAME=CPU_ONLINE >\n");
    for core in module.clusters.iter().flat_map(|cluster| cluster.iter()).filter(|core| **core != 0) {
        let _ = writeln!(text, "CORE_{core} {cpu}/cpu{core}/online");
    }
    let device = release.gpu.device;
    if release.gpu.masks.contains(&"tpc_pg_mask") {
        let _ =
            writeln!(text, "\n< PARAM TYPE=FILE NAME=TPC_POWER_GATING >\nTPC_PG_MASK {device}/tpc_pg_mask");
    }
    if release.gpu.masks.contains(&"fbp_pg_mask") {
        let _ =
            writeln!(text, "\n< PARAM TYPE=FILE NAME=FBP_POWER_GATING >\nFBP_PG_MASK {device}/fbp_pg_mask");
    }
    for (index, cluster) in module.clusters.iter().enumerate() {
        let folder = format!("{cpu}/cpu{}/cpufreq", cluster[0]);
        let _ = writeln!(
            text,
            "\n< PARAM TYPE=CLOCK NAME=CPU_CLUSTER_{index} >\nFREQ_TABLE {folder}/scaling_available_frequencies\n\
             MIN_FREQ {folder}/scaling_min_freq\nMAX_FREQ {folder}/scaling_max_freq"
        );
    }
    let devfreq = release.gpu.devfreq_path();
    let _ = writeln!(
        text,
        "\n< PARAM TYPE=CLOCK NAME=GPU >\nFREQ_TABLE {devfreq}/available_frequencies\n\
         MIN_FREQ {devfreq}/min_freq\nMAX_FREQ {devfreq}/max_freq"
    );
    if let Some(cap) = release.emc_cap() {
        let _ = writeln!(text, "\n< PARAM TYPE=CLOCK NAME=EMC >\nMAX_FREQ {}", cap.path);
    }
}
