//! Tables of measured profiles as CSV text: one row for each measurement of a job in a power mode.
//!
//! `docs/profile-table.md` describes the format. Columns that this module does not know are kept as text, so
//! that a table can carry what its maker wants (`batch_size`, `time_per_epoch_s`).

use csv::{ReaderBuilder, StringRecord, Trim, WriterBuilder};
use thiserror::Error;

use crate::power_mode::{ModeSpace, PowerMode};
use crate::units::{Hertz, Joules, Watts};

/// The columns with a meaning of their own; only `workload` must be there.
const COLUMNS: [&str; 9] =
    ["workload", "cpu_cores", "cpu_hz", "gpu_hz", "emc_hz", "power_limit_w", "time_s", "power_w", "energy_j"];

/// Why a text is not a profile table, with the line that says so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct TableError {
    /// Counted from 1; the header is a line too.
    pub line: u64,
    /// What is wrong with it.
    pub problem: String,
}

/// One measured row of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileRow {
    /// The line that it stands on.
    pub line: u64,
    /// The job that was measured, by the name the table gives it.
    pub workload: String,
    /// The knobs; what is empty in the table was not set or does not exist.
    pub mode: PowerMode,
    /// Duration of one unit of work (a step, a picture, a whole run: the table's maker decides).
    pub time_s: Option<f64>,
    /// Mean power while it ran.
    pub power_w: Option<Watts>,
    /// Energy of the same unit of work.
    pub energy_j: Option<Joules>,
    /// The texts of the table's further columns, in the order of [`ProfileTable::extra_columns`].
    pub extra: Vec<String>,
}

impl ProfileRow {
    /// The mean power: measured, or energy by time.
    pub fn mean_power(&self) -> Option<Watts> {
        let derived = || Some(Watts(self.energy_j?.0 / self.time_s?));
        self.power_w.or_else(derived)
    }
}

/// What repeats of one mode come to.
#[derive(Clone, Debug, PartialEq)]
pub struct ModeMean {
    /// The knobs' values of the row.
    pub mode: PowerMode,
    /// Rows that were put together.
    pub rows: usize,
    /// Mean of the times that there are.
    pub time_s: Option<f64>,
    /// Mean of the powers that there are (measured, or energy by time).
    pub power_w: Option<Watts>,
}

/// A table of measurements.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProfileTable {
    /// In the order of the text.
    pub rows: Vec<ProfileRow>,
    /// Names of the columns beyond the known ones.
    pub extra_columns: Vec<String>,
}

impl ProfileTable {
    /// Reads the text of a table. The first error ends it.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(Trim::All)
            .from_reader(text.as_bytes());
        let mut records = reader.records();
        let mut lines = Lines { text, byte: 0, line: 1 };
        let header = match records.next() {
            Some(header) => header.map_err(csv_error)?,
            None => return Err(fault(1, "the table is empty: its first line must name the columns")),
        };
        let columns = Columns::of(&header, lines.of(&header))?;
        let mut table = Self { rows: Vec::new(), extra_columns: columns.extra_names(&header) };
        for record in records {
            let record = record.map_err(csv_error)?;
            table.rows.push(columns.row(&record, lines.of(&record))?);
        }
        if table.rows.is_empty() {
            return Err(fault(lines.line + 1, "the table has no rows"));
        }
        Ok(table)
    }

    /// The table as text, with the known columns first. `parse` gives the same rows back, but for the lines'
    /// numbers.
    pub fn to_csv(&self) -> Result<String, TableError> {
        let mut writer = WriterBuilder::new().from_writer(Vec::new());
        let header = COLUMNS.into_iter().chain(self.extra_columns.iter().map(String::as_str));
        writer.write_record(header).map_err(csv_error)?;
        for row in &self.rows {
            let known = cells(row);
            let fields = known.iter().chain(&row.extra).map(String::as_str);
            writer.write_record(fields).map_err(csv_error)?;
        }
        let bytes = writer.into_inner().map_err(|e| fault(0, e.to_string()))?;
        String::from_utf8(bytes).map_err(|e| fault(0, e.to_string()))
    }

    /// The names of what ran, in the order of their first rows.
    pub fn workloads(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !names.contains(&row.workload.as_str()) {
                names.push(&row.workload);
            }
        }
        names
    }

    /// The rows of one workload.
    pub fn of<'a>(&'a self, workload: &'a str) -> impl Iterator<Item = &'a ProfileRow> {
        self.rows.iter().filter(move |row| row.workload == workload)
    }

    /// The distinct modes of one workload, with the means over their repeats, in ascending order of mode.
    pub fn means(&self, workload: &str) -> Vec<ModeMean> {
        let mut rows: Vec<&ProfileRow> = self.of(workload).collect();
        rows.sort_by_key(|row| row.mode);
        let group = |same: &[&ProfileRow]| ModeMean {
            mode: same[0].mode,
            rows: same.len(),
            time_s: mean(same.iter().filter_map(|row| row.time_s)),
            power_w: mean(same.iter().filter_map(|row| row.mean_power()).map(|w| w.0)).map(Watts),
        };
        rows.chunk_by(|a, b| a.mode == b.mode).map(group).collect()
    }

    /// The modes of one workload's rows.
    pub fn space(&self, workload: &str) -> ModeSpace {
        ModeSpace::listed(self.of(workload).map(|row| row.mode).collect())
    }

    /// The text of a row in one of the further columns; `None` if there is no such column or it is empty.
    pub fn extra_text<'a>(&self, row: &'a ProfileRow, column: &str) -> Option<&'a str> {
        let index = self.extra_columns.iter().position(|name| name == column)?;
        row.extra.get(index).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The same as a number.
    pub fn extra_number(&self, row: &ProfileRow, column: &str) -> Result<Option<f64>, TableError> {
        self.extra_text(row, column).map(|text| number(text, column, row.line)).transpose()
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    crate::stats::mean(&values.collect::<Vec<_>>())
}

/// Counts lines. The reader's own numbers are those of the end of the record before, and leave out empty lines.
struct Lines<'a> {
    text: &'a str,
    byte: usize,
    line: u64,
}

impl Lines<'_> {
    fn of(&mut self, record: &StringRecord) -> u64 {
        let start = record.position().map_or(0, |at| at.byte() as usize);
        let bytes = self.text.as_bytes();
        let ends = bytes[start..].iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        let start = start + ends;
        self.line += bytes[self.byte..start].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.byte = start;
        self.line
    }
}

/// Where the columns stand in the text.
struct Columns {
    known: [Option<usize>; COLUMNS.len()],
    extra: Vec<usize>,
    count: usize,
}

impl Columns {
    fn of(header: &StringRecord, line: u64) -> Result<Self, TableError> {
        let mut known = [None; COLUMNS.len()];
        let mut extra = Vec::new();
        for (index, name) in header.iter().enumerate() {
            if name.is_empty() {
                return Err(fault(line, format!("column {} has no name", index + 1)));
            }
            if header.iter().take(index).any(|before| before == name) {
                return Err(fault(line, format!("column `{name}` stands there twice")));
            }
            match COLUMNS.iter().position(|column| *column == name) {
                Some(column) => known[column] = Some(index),
                None => extra.push(index),
            }
        }
        if known[0].is_none() {
            let problem = format!("no column `workload`; the first line names {}", quoted(header));
            return Err(fault(line, problem));
        }
        Ok(Self { known, extra, count: header.len() })
    }

    fn extra_names(&self, header: &StringRecord) -> Vec<String> {
        self.extra.iter().map(|index| header[*index].to_owned()).collect()
    }

    fn row(&self, record: &StringRecord, line: u64) -> Result<ProfileRow, TableError> {
        if record.len() != self.count {
            let problem = format!("{} values where the header has {} columns", record.len(), self.count);
            return Err(fault(line, problem));
        }
        let text = |column: usize| self.known[column].map_or("", |index| &record[index]);
        let whole = |column: usize| optional(text(column), |t| whole_number(t, COLUMNS[column], line));
        let positive = |column: usize| optional(text(column), |t| positive(t, COLUMNS[column], line));
        if text(0).is_empty() {
            return Err(fault(line, "column `workload` is empty"));
        }
        let cores =
            whole(1)?.map(|n| u32::try_from(n).map_err(|_| fault(line, "column `cpu_cores`: too many")));
        let mode = PowerMode {
            cpu_cores: cores.transpose()?,
            cpu_hz: whole(2)?.map(Hertz),
            gpu_hz: whole(3)?.map(Hertz),
            emc_hz: whole(4)?.map(Hertz),
            gpu_power_limit_mw: positive(5)?.map(|watts| (watts * 1e3).round() as u64),
        };
        Ok(ProfileRow {
            line,
            workload: text(0).to_owned(),
            mode,
            time_s: positive(6)?,
            power_w: positive(7)?.map(Watts),
            energy_j: positive(8)?.map(Joules),
            extra: self.extra.iter().map(|index| record[*index].to_owned()).collect(),
        })
    }
}

fn cells(row: &ProfileRow) -> [String; COLUMNS.len()] {
    fn shown<T: ToString>(value: Option<T>) -> String {
        value.map_or(String::new(), |value| value.to_string())
    }
    let mode = &row.mode;
    [
        row.workload.clone(),
        shown(mode.cpu_cores),
        shown(mode.cpu_hz.map(|hz| hz.0)),
        shown(mode.gpu_hz.map(|hz| hz.0)),
        shown(mode.emc_hz.map(|hz| hz.0)),
        shown(mode.gpu_power_limit_mw.map(|mw| mw as f64 / 1e3)),
        shown(row.time_s),
        shown(row.power_w.map(|w| w.0)),
        shown(row.energy_j.map(|j| j.0)),
    ]
}

fn optional<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, TableError>,
) -> Result<Option<T>, TableError> {
    if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}

fn number(text: &str, column: &str, line: u64) -> Result<f64, TableError> {
    let value: Option<f64> = text.parse().ok().filter(|value: &f64| value.is_finite());
    value.ok_or_else(|| fault(line, format!("column `{column}`: `{text}` is not a number")))
}

/// A duration, a power or an energy: nothing that takes no time or no power was measured.
fn positive(text: &str, column: &str, line: u64) -> Result<f64, TableError> {
    let value = number(text, column, line)?;
    let wrong = || fault(line, format!("column `{column}`: {text} must be more than 0"));
    (value > 0.0).then_some(value).ok_or_else(wrong)
}

/// A count or a frequency; `1.1136e9` and `1113600000.0` are whole numbers too.
fn whole_number(text: &str, column: &str, line: u64) -> Result<u64, TableError> {
    if let Ok(value) = text.parse() {
        return Ok(value);
    }
    let value = number(text, column, line)?;
    let whole = value.fract() == 0.0 && (0.0..=9e15).contains(&value);
    let wrong = || fault(line, format!("column `{column}`: {text} is not a whole number"));
    whole.then_some(value as u64).ok_or_else(wrong)
}

fn fault(line: u64, problem: impl Into<String>) -> TableError {
    TableError { line, problem: problem.into() }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn csv_error(error: csv::Error) -> TableError {
    fault(error.position().map_or(0, csv::Position::line), error.to_string())
}

fn quoted(header: &StringRecord) -> String {
    header.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALL: &str = "\
workload,cpu_cores,cpu_hz,gpu_hz,emc_hz,time_s,power_w,energy_j\r
net,2,1113600000,1300500000,,0.25,,2.5\r
net,2,1113600000,1300500000,,0.75,8,\r
net,1,1.1136e9,114750000.0,,0.5,,\r
other,,,,,1,,\r
";

    #[test]
    fn what_is_empty_was_not_measured() {
        let table = ProfileTable::parse(SMALL).unwrap();
        assert_eq!(table.workloads(), ["net", "other"]);
        let first = &table.rows[0];
        assert_eq!((first.line, first.mode.cpu_cores, first.mode.emc_hz), (2, Some(2), None));
        assert_eq!((first.power_w, first.mean_power()), (None, Some(Watts(10.0))));
        assert_eq!(table.rows[2].mode.cpu_hz, Some(Hertz(1_113_600_000)));
        assert_eq!(table.rows[3].mode, PowerMode::default());
        assert_eq!(table.space("net").modes().len(), 2);
    }

    #[test]
    fn repeats_are_averaged_over_what_there_is() {
        let table = ProfileTable::parse(SMALL).unwrap();
        let means = table.means("net");
        assert_eq!(means.len(), 2);
        assert_eq!((means[0].rows, means[0].time_s, means[0].power_w), (1, Some(0.5), None));
        assert_eq!((means[1].rows, means[1].time_s, means[1].power_w), (2, Some(0.5), Some(Watts(9.0))));
    }

    #[test]
    fn further_columns_are_kept_and_a_power_limit_is_a_knob() {
        let text = "workload,batch_size,power_limit_w,time_per_epoch_s,power_w\nncf,1024,137.5,,90.5\n";
        let table = ProfileTable::parse(text).unwrap();
        assert_eq!(table.extra_columns, ["batch_size", "time_per_epoch_s"]);
        let row = &table.rows[0];
        assert_eq!(row.mode.gpu_power_limit_mw, Some(137_500));
        assert_eq!(table.extra_number(row, "batch_size"), Ok(Some(1024.0)));
        assert_eq!(table.extra_number(row, "time_per_epoch_s"), Ok(None));
        assert_eq!(table.extra_number(row, "no such column"), Ok(None));
    }

    #[test]
    fn errors_name_their_line() {
        let cases = [
            ("", "line 1: the table is empty: its first line must name the columns"),
            ("a,b\n1,2\n", "line 1: no column `workload`; the first line names `a`, `b`"),
            ("workload,time_s,time_s\n", "line 1: column `time_s` stands there twice"),
            ("workload,,x\n", "line 1: column 2 has no name"),
            ("workload,time_s\n", "line 2: the table has no rows"),
            ("workload,time_s\na,1\n\nb,x\n", "line 4: column `time_s`: `x` is not a number"),
            ("workload,time_s\na,1\nb,NaN\n", "line 3: column `time_s`: `NaN` is not a number"),
            ("workload,time_s\na,-1\n", "line 2: column `time_s`: -1 must be more than 0"),
            ("workload,time_s\na,1,2\n", "line 2: 3 values where the header has 2 columns"),
            ("workload,cpu_hz\na,0.5\n", "line 2: column `cpu_hz`: 0.5 is not a whole number"),
            ("workload,cpu_cores\na,4294967296\n", "line 2: column `cpu_cores`: too many"),
            ("workload,time_s\n,1\n", "line 2: column `workload` is empty"),
        ];
        for (text, message) in cases {
            assert_eq!(ProfileTable::parse(text).unwrap_err().to_string(), message, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_table_survives_its_text(
            names in proptest::collection::vec("[a-z,\"/ -]{0,8}x", 1..8),
            cores in proptest::option::of(1u32..16),
            hz in proptest::option::of(1u64..3_000_000_000),
            limit_mw in proptest::option::of(1u64..700_000),
            time_s in proptest::option::of(1e-9f64..1e6),
            extra in "[a-z,\"]{0,6}",
        ) {
            let row = |(index, name): (usize, &String)| ProfileRow {
                line: index as u64 + 2,
                workload: name.trim().to_owned(),
                mode: PowerMode {
                    cpu_cores: cores,
                    cpu_hz: hz.map(Hertz),
                    gpu_power_limit_mw: limit_mw,
                    ..PowerMode::default()
                },
                time_s,
                power_w: time_s.map(|t| Watts(t * 3.0)),
                energy_j: None,
                extra: vec![extra.clone()],
            };
            let rows = names.iter().enumerate().map(row).collect();
            let table = ProfileTable { rows, extra_columns: vec!["note".into()] };
            prop_assert_eq!(ProfileTable::parse(&table.to_csv().unwrap()), Ok(table));
        }

        #[test]
        fn any_text_gives_a_table_or_an_error(text in "(workload,time_s\n)?[a-z0-9,.\"\n\r-]{0,60}") {
            let _ = ProfileTable::parse(&text);
        }
    }
}
