//! nvpmodel's configuration: a parser that loses nothing, so that what is parsed prints as the same bytes.

use std::collections::BTreeMap;

/// Lines that a configuration may have; stock ones have a few hundred.
const LINES_MAX: usize = 100_000;

/// A whole configuration file of nvpmodel, with every byte that it had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conf {
    /// Every line as it stands, with its end.
    lines: Vec<String>,
    /// The parameters by name.
    pub params: Vec<Param>,
    /// The modes, in the order of the file.
    pub modes: Vec<PowerModel>,
    /// The default of `PM_CONFIG`: a number or a name.
    pub default: Option<String>,
    /// The default of `FAN_CONFIG`.
    pub fan_default: Option<String>,
}

/// How a parameter's value is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamType {
    /// Written as it is.
    File,
    /// A clock: -1 is the highest.
    Clock,
    /// A limit of a hwmon device.
    Hwmon,
}

/// A parameter: names for paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name, by which settings refer to it.
    pub name: String,
    /// What its arguments are, and how a value is applied.
    pub kind: ParamType,
    /// Its arguments: a name and what follows it (a path; for hwmon a folder, `hwmon` and a file).
    pub arguments: Vec<(String, Vec<String>)>,
}

impl Param {
    /// The path of an argument.
    pub fn path(&self, argument: &str) -> Option<&str> {
        let (_, words) = self.arguments.iter().find(|(name, _)| name == argument)?;
        words.first().map(String::as_str)
    }
}

/// One setting of a mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The parameter; in the oldest files (R27, R28) a path stands here and there is no argument.
    pub param: String,
    /// The argument; empty with a path.
    pub argument: String,
    /// The value as it stands there; for clocks -1 is the highest.
    pub value: String,
}

/// A power mode: a `POWER_MODEL` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerModel {
    /// Its number, which differs between boards for the same name.
    pub id: i64,
    /// Its name, without white space.
    pub name: String,
    /// Its settings, in order.
    pub settings: Vec<Setting>,
}

/// Why a text is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ConfError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

enum Section {
    None,
    Param,
    Mode,
    Other,
}

impl Conf {
    /// Parses the text of a configuration; the first line that is wrong ends it.
    pub fn parse(text: &str) -> Result<Self, ConfError> {
        let mut conf = Self::default();
        let mut section = Section::None;
        for (index, raw) in text.split_inclusive('\n').enumerate() {
            let wrong = |problem: String| ConfError { line: index + 1, problem };
            if index >= LINES_MAX {
                return Err(wrong(format!("more than {LINES_MAX} lines")));
            }
            conf.lines.push(raw.to_owned());
            let line = raw.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            if line.starts_with('<') {
                section = conf.header(line).map_err(wrong)?;
            } else {
                conf.body(&section, line).map_err(wrong)?;
            }
        }
        Ok(conf)
    }

    fn header(&mut self, line: &str) -> Result<Section, String> {
        let inner = line.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
        let inner = inner.ok_or("a section's head ends with `>`")?;
        let mut words = inner.split_whitespace();
        let kind = words.next().ok_or("a section's head has no kind")?;
        let mut attributes = BTreeMap::new();
        for word in words {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is not NAME=VALUE"))?;
            attributes.insert(name, value);
        }
        let need = |name: &str| {
            let value = attributes.get(name).copied().filter(|value| !value.is_empty());
            value.map(str::to_owned).ok_or_else(|| format!("{kind} has no {name}"))
        };
        match kind {
            "PARAM" => {
                let kind = match need("TYPE")?.as_str() {
                    "FILE" => ParamType::File,
                    "CLOCK" => ParamType::Clock,
                    "HWMON" => ParamType::Hwmon,
                    other => return Err(format!("TYPE={other} is none of FILE, CLOCK and HWMON")),
                };
                self.params.push(Param { name: need("NAME")?, kind, arguments: Vec::new() });
                Ok(Section::Param)
            }
            "POWER_MODEL" => {
                let id = need("ID")?;
                let id = id.parse().map_err(|_| format!("ID={id} is not a whole number"))?;
                self.modes.push(PowerModel { id, name: need("NAME")?, settings: Vec::new() });
                Ok(Section::Mode)
            }
            "PM_CONFIG" => {
                self.default = Some(need("DEFAULT")?);
                Ok(Section::Other)
            }
            "FAN_CONFIG" => {
                self.fan_default = Some(need("DEFAULT")?);
                Ok(Section::Other)
            }
            "PM_STATUS" => Ok(Section::Other),
            other => Err(format!("<{other}> is not a known section")),
        }
    }

    fn body(&mut self, section: &Section, line: &str) -> Result<(), String> {
        let mut words = line.split_whitespace().map(str::to_owned);
        match section {
            Section::None => Err("a line stands before the first section".to_owned()),
            Section::Other => Ok(()),
            Section::Param => {
                let name = words.next().unwrap_or_default();
                let rest: Vec<String> = words.collect();
                let param = self.params.last_mut().ok_or("no parameter")?;
                match (param.kind, rest.len()) {
                    (ParamType::Hwmon, 3) | (ParamType::File | ParamType::Clock, 1 | 2) => {
                        param.arguments.push((name, rest));
                        Ok(())
                    }
                    _ => Err(format!("`{name}` of {} has {} words after it", param.name, rest.len())),
                }
            }
            Section::Mode => {
                let words: Vec<String> = words.collect();
                let mode = self.modes.last_mut().ok_or("no mode")?;
                let setting = match words.as_slice() {
                    [path, value] if path.starts_with('/') => {
                        Setting { param: path.clone(), argument: String::new(), value: value.clone() }
                    }
                    [param, argument, value] => {
                        Setting { param: param.clone(), argument: argument.clone(), value: value.clone() }
                    }
                    _ => return Err(format!("`{line}` is not PARAM ARGUMENT VALUE")),
                };
                mode.settings.push(setting);
                Ok(())
            }
        }
    }

    /// A parameter by its name.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|param| param.name == name)
    }

    /// The mode that `PM_CONFIG` names by number or by name; `None` if there is no such mode.
    pub fn default_mode(&self) -> Option<&PowerModel> {
        let default = self.default.as_deref()?;
        let by_id = default.parse::<i64>().ok().and_then(|id| self.modes.iter().find(|mode| mode.id == id));
        by_id.or_else(|| self.modes.iter().find(|mode| mode.name == default))
    }
}

impl std::fmt::Display for Conf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.lines.iter().try_for_each(|line| f.write_str(line))
    }
}

/// The number in nvpmodel's status file: `pmode:0003`, with `fmode:` besides on newer releases.
pub fn status_id(text: &str) -> Option<i64> {
    let field = text.split_whitespace().find_map(|word| word.strip_prefix("pmode:"))?;
    field.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "\
# head\n\n< PARAM TYPE=FILE NAME=CPU_ONLINE >\nCORE_1 /sys/devices/system/cpu/cpu1/online\r\n\
<PARAM TYPE=CLOCK NAME=GPU>\n  MAX_FREQ   /sys/gpu/max_freq # kHz no\n\
< PARAM TYPE=HWMON NAME=VDDIN_OC_LIMIT >\nWARN /sys/bus/i2c/1-0040 hwmon curr1_max\n\
< POWER_MODEL ID=0 NAME=MAXN >\nCPU_ONLINE CORE_1 1\nGPU MAX_FREQ -1\n/sys/raw/node 7\n\
< PM_CONFIG DEFAULT=0 >\n< FAN_CONFIG DEFAULT=quiet >";

    #[test]
    fn the_whole_grammar_is_read_and_printed_as_it_was() {
        let conf = Conf::parse(TEXT).unwrap();
        assert_eq!(conf.to_string(), TEXT);
        assert_eq!(conf.params.len(), 3);
        assert_eq!(conf.param("GPU").unwrap().path("MAX_FREQ"), Some("/sys/gpu/max_freq"));
        assert_eq!(conf.default_mode().unwrap().name, "MAXN");
        assert_eq!(conf.fan_default.as_deref(), Some("quiet"));
        let last = conf.modes[0].settings.last().unwrap();
        assert_eq!((last.param.as_str(), last.value.as_str()), ("/sys/raw/node", "7"));
    }

    #[test]
    fn every_stock_configuration_is_read_and_printed_as_it_was() {
        for board in crate::board::BOARDS {
            for release in board.releases {
                let Some(text) = crate::board::conf::stock_conf(board, release) else { continue };
                let conf = Conf::parse(&text).unwrap();
                assert_eq!(conf.to_string(), text);
                assert_eq!(conf.modes.len(), release.stock_modes.len());
                let default = release.stock_modes.iter().find(|mode| mode.default).unwrap();
                assert_eq!(conf.default_mode().unwrap().name, default.name);
            }
        }
    }

    #[test]
    fn what_is_no_configuration_is_told_with_its_line() {
        for (text, line, part) in [
            ("CORE_1 1\n", 1, "before the first section"),
            ("< PARAM NAME=X >\n", 1, "has no TYPE"),
            ("< PARAM TYPE=DISK NAME=X >\n", 1, "none of FILE"),
            ("\n< POWER_MODEL ID=a NAME=X >\n", 2, "not a whole number"),
            ("< POWER_MODEL ID=1 NAME=X >\nGPU MAX_FREQ\n", 2, "is not PARAM"),
            ("< POWER_MODEL ID=1\n", 1, "ends with `>`"),
            ("< DREAMS ID=1 >\n", 1, "not a known section"),
            ("< PM_CONFIG >\n", 1, "has no DEFAULT"),
        ] {
            let error = Conf::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            assert!(error.problem.contains(part), "{error}");
        }
    }

    #[test]
    fn the_status_file_may_hold_a_fan_mode() {
        assert_eq!(status_id("pmode:0003\n"), Some(3));
        assert_eq!(status_id("pmode:0002 fmode:quiet\n"), Some(2));
        assert_eq!(status_id("fmode:quiet\n"), None);
    }

    /// Heads of sections, bodies, and what is neither.
    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            "< ?(PARAM|POWER_MODEL|PM_CONFIG)( (TYPE|NAME|ID|DEFAULT)=(FILE|CLOCK|[A-Z0-9]{1,3})){0,3} ?>\n",
            "[A-Z/ #<>=0-9]{0,20}\n",
        ]
    }

    proptest! {
        #[test]
        fn what_is_parsed_prints_the_same(lines in proptest::collection::vec(line(), 0..12)) {
            let text = lines.concat();
            if let Ok(conf) = Conf::parse(&text) {
                prop_assert_eq!(conf.to_string(), text);
            }
        }
    }
}
