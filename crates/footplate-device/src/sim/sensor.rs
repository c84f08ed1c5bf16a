//! What a power sensor of a simulated board shows: averaging, period, rounding to its steps.

use crate::board::{Channel, SensorChip, SensorKind};

/// One unit of the shunt voltage of an INA3221, in microvolts.
const SHUNT_LSB_UV: f64 = 40.0;
/// One unit of its bus voltage, in millivolts.
const BUS_LSB_MV: f64 = 8.0;
/// Where the facts do not tell, in milliohms and millivolts: assumed.
const SHUNT_ASSUMED_MOHM: f64 = 5.0;
const BUS_ASSUMED_MV: f64 = 12_000.0;
/// Smallest step of an INA238's power here, in microwatts: assumed.
const INA238_STEP_UW: f64 = 5_000.0;

/// A file of a rail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RailFile {
    /// mW of the iio driver: mV times mA, cut off.
    IioPower,
    /// The current in mA.
    Current,
    /// The voltage in mV.
    Voltage,
    /// `mV mA` from one conversion.
    Both,
    /// µW of an INA238.
    Microwatts,
}

/// A channel's shunt in milliohms, that of the facts or the assumed one.
pub(super) fn shunt_mohm(channel: &Channel) -> f64 {
    if channel.shunt_mohm == 0 { SHUNT_ASSUMED_MOHM } else { f64::from(channel.shunt_mohm) }
}

/// A channel's voltage in millivolts, that of the facts or the assumed one.
fn bus_mv(channel: &Channel) -> f64 {
    if channel.bus_mv == 0 { BUS_ASSUMED_MV } else { f64::from(channel.bus_mv) }
}

/// An INA238 converts bus voltage, shunt voltage and its temperature in turn, at its default of 1.052 ms each.
const INA238_CONVERSION_NS: u64 = 1_052_000;

fn is_connected(channel: &&Channel) -> bool {
    channel.label != "NC"
}

/// What one channel takes of a cycle: voltage and current.
fn channel_ns(chip: &SensorChip) -> u64 {
    2 * u64::from(chip.conversion_us) * 1000
}

/// Time between two new values: every connected channel is converted in turn, voltage and current, as often as
/// samples are averaged.
pub(super) fn period_ns(chip: &SensorChip) -> u64 {
    if chip.kind == SensorKind::Ina238 {
        return 3 * INA238_CONVERSION_NS;
    }
    let channels = chip.channels.iter().filter(is_connected).count().max(1) as u64;
    channels * u64::from(chip.samples) * channel_ns(chip)
}

/// Time over which one value is the mean: the whole period where samples are averaged, else one conversion.
pub(super) fn average_ns(chip: &SensorChip) -> u64 {
    match chip.kind {
        SensorKind::Ina238 => INA238_CONVERSION_NS,
        _ if chip.samples > 1 => period_ns(chip),
        _ => channel_ns(chip),
    }
}

/// When the value that a read at `now_ns` shows was converted. Chips start their cycles at odd moments, and convert
/// one channel after the other; averages are taken to end with the cycle.
pub(super) fn converted_ns(chip: &SensorChip, channel: usize, now_ns: u64) -> u64 {
    let period = period_ns(chip);
    let start = chip.bus_address.bytes().map(u64::from).sum::<u64>() * 7_919_003;
    let before = chip.channels[..channel].iter().filter(is_connected).count() as u64;
    let turn = if chip.samples > 1 { 0 } else { before * channel_ns(chip) };
    let phase = (start + period - turn % period) % period;
    now_ns.saturating_sub((now_ns + phase) % period)
}

/// The text of a rail's file, from the mean power over the conversion.
pub(super) fn shown(chip: &SensorChip, channel: &Channel, watts: f64, file: RailFile) -> String {
    // A supply gives way a little under load.
    let mv = bus_mv(channel) * (1.0 - 0.0005 * watts.clamp(0.0, 40.0));
    let mv = (mv / BUS_LSB_MV).round() * BUS_LSB_MV;
    let lsb_ma = SHUNT_LSB_UV / shunt_mohm(channel);
    let ma = (watts * 1e6 / mv / lsb_ma).round() * lsb_ma;
    match file {
        RailFile::IioPower => format!("{}", (mv * ma / 1000.0) as u64),
        RailFile::Voltage => format!("{mv:.0}"),
        RailFile::Current => format!("{ma:.0}"),
        RailFile::Both => format!("{mv:.0} {ma:.0}"),
        RailFile::Microwatts => {
            debug_assert_eq!(chip.kind, SensorKind::Ina238);
            format!("{:.0}", (watts * 1e6 / INA238_STEP_UW).round() * INA238_STEP_UW)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R32_NANO: SensorChip = SensorChip {
        kind: SensorKind::Ina3221Iio,
        bus_address: "6-0040",
        channels: &[
            Channel { label: "POM_5V_IN", shunt_mohm: 5, bus_mv: 5_000 },
            Channel { label: "POM_5V_GPU", shunt_mohm: 5, bus_mv: 5_000 },
            Channel { label: "POM_5V_CPU", shunt_mohm: 5, bus_mv: 5_000 },
        ],
        samples: 64,
        conversion_us: 140,
    };

    #[test]
    fn periods_are_the_published_ones() {
        assert_eq!((period_ns(&R32_NANO), average_ns(&R32_NANO)), (53_760_000, 53_760_000));
        let r35 = SensorChip { samples: 1, conversion_us: 1100, ..R32_NANO };
        assert_eq!((period_ns(&r35), average_ns(&r35)), (6_600_000, 2_200_000));
        for now in [10_000_000_000, 10_030_000_000, 10_053_759_999] {
            let age = now - converted_ns(&R32_NANO, 0, now);
            assert!(age < 53_760_000);
            assert_eq!(converted_ns(&R32_NANO, 0, now - age), now - age);
            let of_r35 = [0, 1, 2].map(|channel| converted_ns(&r35, channel, now));
            assert!(of_r35.iter().all(|at| now - at < 6_600_000));
            assert_eq!((of_r35[1] + 6_600_000 - of_r35[0]) % 6_600_000, 2_200_000);
            assert_eq!((of_r35[2] + 6_600_000 - of_r35[1]) % 6_600_000, 2_200_000);
        }
    }

    #[test]
    fn values_come_in_the_sensors_steps() {
        let channel = &R32_NANO.channels[0];
        let power = |watts| shown(&R32_NANO, channel, watts, RailFile::IioPower).parse::<u64>().unwrap();
        let steps: std::collections::BTreeSet<u64> =
            (0..100).map(|i| power(3.0 + f64::from(i) * 0.002)).collect();
        // 8 mA at 5 V are 40 mW.
        assert!((5..=7).contains(&steps.len()), "{steps:?}");
        assert!((power(3.0) as f64 - 3000.0).abs() < 41.0);
        let both = shown(&R32_NANO, channel, 3.0, RailFile::Both);
        let (mv, ma) = both.split_once(' ').unwrap();
        assert_eq!(mv.parse::<u64>().unwrap() * ma.parse::<u64>().unwrap() / 1000, power(3.0));
    }
}
