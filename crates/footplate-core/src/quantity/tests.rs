use proptest::prelude::*;

use super::*;

#[test]
fn every_unit_is_read_everywhere_it_stands() {
    assert_eq!(
        ["20W", "500 mW", "0.02kW", "1e3mW"].map(str::parse),
        [20.0, 0.5, 20.0, 1.0].map(|w| Ok(Watts(w)))
    );
    let times = ["500ms", "90s", "5m", "5min", "2h", "1d", "1.5 h", "250us", "250µs", "3sec"];
    let seconds = [0.5, 90.0, 300.0, 300.0, 7200.0, 86_400.0, 5400.0, 250e-6, 250e-6, 3.0];
    assert_eq!(times.map(str::parse), seconds.map(|s| Ok(Seconds(s))));
    assert_eq!(["50kJ", "2Wh", "1MJ"].map(str::parse), [50e3, 7200.0, 1e6].map(|j| Ok(Joules(j))));
    let sizes = ["0B", "2K", "2KiB", "1.5MiB", "2GB", "2GiB", "1TiB", "1 kB"];
    let bytes = [0, 2048, 2048, 1_572_864, 2_000_000_000, 2 << 30, 1 << 40, 1000];
    assert_eq!(sizes.map(str::parse), bytes.map(|b| Ok(Bytes(b))));
    let clocks = ["1190.4MHz", "1.2GHz", "612000000Hz", "306 kHz"];
    let hertz = [1_190_400_000, 1_200_000_000, 612_000_000, 306_000];
    assert_eq!(clocks.map(str::parse), hertz.map(|hz| Ok(Hertz(hz))));
    assert_eq!(["80C", "80°C", "80.5 °C"].map(str::parse), [80.0, 80.0, 80.5].map(|c| Ok(Celsius(c))));
    assert_eq!(
        ["1%", "0.01", "1 %", "0", "120%"].map(str::parse),
        [0.01, 0.01, 0.01, 0.0, 1.2].map(|s| Ok(Share(s)))
    );
}

#[test]
fn a_limit_is_of_the_job_or_of_a_part_of_it() {
    assert_eq!(time_limit("2h"), Ok(Limit { value: 7200.0, per: Per::Job }));
    assert_eq!(time_limit("60s/epoch"), Ok(Limit { value: 60.0, per: Per::Epoch }));
    assert_eq!(energy_limit("2J/step"), Ok(Limit { value: 2.0, per: Per::Step }));
    assert_eq!(energy_limit("2kWh/job"), Ok(Limit { value: 7.2e6, per: Per::Job }));
    assert_eq!(power_limit("20W"), Ok(Watts(20.0)));
    assert!(matches!(time_limit("3s/minute"), Err(QuantityError::Per(_))));
    assert!(matches!(time_limit("0s"), Err(QuantityError::TooSmall { .. })));
    assert!(
        power_limit("0W").is_err() && temperature_limit("0C").is_err() && energy_limit("0J/step").is_err()
    );
    assert!(power_limit("20W/step").is_err());
}

#[test]
fn a_bare_number_is_refused_with_the_units_that_there_are() {
    let told = [
        "20".parse::<Watts>().unwrap_err().to_string(),
        "60".parse::<Seconds>().unwrap_err().to_string(),
        "1000".parse::<Bytes>().unwrap_err().to_string(),
        "612".parse::<Hertz>().unwrap_err().to_string(),
        "80".parse::<Celsius>().unwrap_err().to_string(),
        time_limit("60/epoch").unwrap_err().to_string(),
    ];
    assert_eq!(
        told,
        [
            "`20` has no unit; write it like 20W (units: mW, W, kW)",
            "`60` has no unit; write it like 90s or 5min (units: us, ms, s, min, h, d)",
            "`1000` has no unit; write it like 512MiB (units: B, KiB, MiB, GiB, TiB, kB, MB, GB, TB)",
            "`612` has no unit; write it like 612MHz (units: Hz, kHz, MHz, GHz)",
            "`80` has no unit; write it like 80C (units: C)",
            "`60` has no unit; write it like 90s or 5min (units: us, ms, s, min, h, d)",
        ]
    );
}

#[test]
fn nonsense_is_named() {
    let power = |text: &str| text.parse::<Watts>().unwrap_err().to_string();
    assert_eq!(power("W"), "`W` is not a power such as 20W");
    assert_eq!(power(""), "`` is not a power such as 20W");
    assert_eq!(power("NaN"), "`NaN` is not a power such as 20W");
    assert_eq!(power("infW"), "`infW` is not a power such as 20W");
    assert_eq!(power("20V"), "`V` in `20V` is not a unit of a power; write it like 20W (units: mW, W, kW)");
    assert_eq!(
        power("1.2.3W"),
        "`.3W` in `1.2.3W` is not a unit of a power; write it like 20W (units: mW, W, kW)"
    );
    assert_eq!(power("-3W"), "-3W must be 0 or more");
    assert_eq!(power("1e400W"), "1e400W is too large");
    assert_eq!("1e30GiB".parse::<Bytes>().unwrap_err().to_string(), "1e30GiB is too large");
    assert_eq!("16777216TiB".parse::<Bytes>().unwrap_err().to_string(), "16777216TiB is too large");
    assert_eq!("0Hz".parse::<Hertz>().unwrap_err().to_string(), "0Hz must be 1 Hz or more");
    assert_eq!("-1%".parse::<Share>().unwrap_err().to_string(), "-1% must be a share of at least 0");
    for bad in ["", "%", "ten", "1%%", "0.1x", "NaN", "inf"] {
        assert!(bad.parse::<Share>().is_err(), "{bad}");
    }
}

#[test]
fn a_settings_file_says_it_in_the_same_words() {
    #[derive(Debug, Deserialize)]
    struct Settings {
        #[serde(default, deserialize_with = "optional")]
        every: Option<Seconds>,
        #[serde(default, deserialize_with = "optional")]
        share: Option<Share>,
    }
    let read = |json: &str| serde_json::from_str::<Settings>(json);
    let settings = read(r#"{"every":"5min","share":"1%"}"#).unwrap();
    assert_eq!((settings.every, settings.share), (Some(Seconds(300.0)), Some(Share(0.01))));
    assert_eq!(read(r#"{"share":0.25}"#).unwrap().share, Some(Share(0.25)));
    assert_eq!(read("{}").unwrap().every, None);
    assert!(read(r#"{"every":300}"#).unwrap_err().to_string().starts_with("`300` has no unit"));
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(value in 1e-3f64..1e9, bytes in 0u64..1 << 50, hz in 1u64..10_000_000_000) {
        let near = |read: f64, printed: f64, unit: f64| (read - printed).abs() <= unit.max(printed * 0.05);
        let Watts(watts) = Watts(value).to_string().parse().unwrap();
        prop_assert!(near(watts, value, 0.005));
        let Joules(joules) = Joules(value).to_string().parse().unwrap();
        prop_assert!(near(joules, value, 0.05));
        let Seconds(seconds) = Seconds(value).to_string().parse().unwrap();
        prop_assert!(near(seconds, value, 0.0));
        let Share(share) = Share(value).to_string().parse().unwrap();
        prop_assert!(near(share, value, 0.0005));
        let Bytes(read) = Bytes(bytes).to_string().parse().unwrap();
        prop_assert!(near(read as f64, bytes as f64, 0.0));
        prop_assert_eq!(Hertz(hz).to_string().parse(), Ok(Hertz(hz)));
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,12}") {
        let _ = (text.parse::<Watts>(), text.parse::<Bytes>(), text.parse::<Share>(), time_limit(&text));
    }

    #[test]
    fn a_number_with_its_unit_is_that_number(number in 0u32..1_000_000, unit in 0usize..TIME.units.len()) {
        let (name, factor) = TIME.units[unit];
        let Seconds(seconds) = format!("{number}{name}").parse().unwrap();
        let expected = f64::from(number) * factor;
        prop_assert!((seconds - expected).abs() <= 1e-12 * expected);
    }
}
