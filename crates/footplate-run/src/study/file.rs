//! A study file: what is varied, and what is the same in all runs. Errors tell the line.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

/// The most runs that a study may have: more is a slip of the pen.
const CELLS_MAX: usize = 100_000;

/// What a study may name, which only whoever makes the steps knows.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Names of the models.
    pub models: &'a [&'a str],
    /// Checks the settings that are the same in all runs; the error says what is wrong with them.
    pub check_train: &'a dyn Fn(&toml::Table) -> Result<(), String>,
}

/// Why a text is not a study. It says the line.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StudyError {
    /// Not TOML, or a key or value that no study has.
    #[error("{0}")]
    Form(String),
    /// The form is right, and it makes no sense.
    #[error("line {line}: {problem}")]
    Sense {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
}

/// A study as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Study {
    /// What the page is called.
    pub title: Option<String>,
    /// Names of the models.
    pub models: Spanned<Vec<Spanned<String>>>,
    /// Data sets; none: the embedded one.
    #[serde(default)]
    pub data: Vec<Spanned<Data>>,
    /// Numbers of the loader's workers, or "auto".
    #[serde(default)]
    pub workers: Option<Spanned<Vec<Spanned<Workers>>>>,
    /// Samples in a minibatch.
    #[serde(default)]
    pub batch_sizes: Option<Spanned<Vec<Spanned<u32>>>>,
    /// Power modes; none: the one that the machine is in.
    #[serde(default)]
    pub modes: Option<Spanned<Modes>>,
    /// What is done about the page cache before each run.
    #[serde(default)]
    pub page_cache: Option<Spanned<Vec<PageCache>>>,
    /// Times that each run is made; 1 unless given.
    #[serde(default)]
    pub repeats: Option<Spanned<u32>>,
    /// A simulated board in the place of this machine.
    #[serde(default)]
    pub sim: Option<Spanned<String>>,
    /// Settings of `footplate train` for all runs.
    #[serde(default)]
    pub train: Option<Spanned<toml::Table>>,
}

/// A data set: one folder, or the same on several kinds of storage.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Data {
    /// What it is called on the page.
    pub name: String,
    /// Not given: the embedded data set.
    pub path: Option<PathBuf>,
    /// Kinds of storage with the folder on each.
    #[serde(default)]
    pub storage: BTreeMap<String, PathBuf>,
    /// The models that train on it; all of them if not given.
    pub models: Option<Vec<Spanned<String>>>,
}

/// A number of workers, or the loader's own choice.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged, expecting = "expected a number of workers or \"auto\"")]
pub enum Workers {
    /// Exactly so many threads; 0 is the training thread itself.
    Fixed(u32),
    /// As many as the loader chooses.
    Auto(Auto),
}

/// The word "auto", which leaves the number to the pipeline.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Auto {
    /// Written `"auto"`.
    Auto,
}

/// The power modes of a study.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"presets\", or a list of preset names and of modes such as { name = \"half\", cpu-cores = 2 }"
)]
pub enum Modes {
    /// The word "presets": all of the machine's.
    All(String),
    /// The modes that are listed, by name or by knobs.
    List(Vec<Mode>),
}

/// A power mode of a study.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(
    untagged,
    expecting = "expected a preset's name, or a mode with name and some of cpu-cores, cpu-clock, gpu-clock and emc-clock"
)]
pub enum Mode {
    /// A preset, or "as-is".
    Named(String),
    /// Its knobs one by one.
    Knobs(Knobs),
}

/// A mode of one's own, with the flags of `footplate mode set`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Knobs {
    /// What it is called on the page.
    pub name: String,
    /// CPU cores that are on.
    pub cpu_cores: Option<u32>,
    /// Upper limit of the CPU clock with its unit, such as "1190.4MHz".
    pub cpu_clock: Option<String>,
    /// Upper limit of the GPU clock with its unit, such as "612MHz".
    pub gpu_clock: Option<String>,
    /// The memory controller's, such as "1600MHz".
    pub emc_clock: Option<String>,
}

/// What is done about the page cache before a run.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum PageCache {
    /// Nothing is done about it.
    #[default]
    AsIs,
    /// The data's files are taken out of it.
    Cold,
    /// The data's files are read once.
    Warm,
}

impl PageCache {
    /// What it is called on the page.
    pub fn name(self) -> &'static str {
        match self {
            Self::AsIs => "as it is",
            Self::Cold => "cold",
            Self::Warm => "warm",
        }
    }
}

/// Keys of `[train]` that the study itself sets.
const OWN: [(&str, &str); 7] = [
    ("data", "[[data]]"),
    ("workers", "`workers`"),
    ("batch-size", "`batch-sizes`"),
    ("model", "`models`"),
    ("run-dir", "--out"),
    ("power-max", "`modes`"),
    ("tune", "`modes`"),
];

impl Study {
    /// Reads a study and checks it.
    pub fn parse(text: &str, known: Known<'_>) -> Result<Self, StudyError> {
        let study: Self = toml::from_str(text).map_err(|e| StudyError::Form(e.to_string()))?;
        let placed = |(span, problem)| StudyError::Sense { line: line(text, &span), problem };
        study.check(known).map_err(placed)?;
        Ok(study)
    }

    fn check(&self, known: Known<'_>) -> Result<(), (Range<usize>, String)> {
        if self.models.get_ref().is_empty() {
            return Err((self.models.span(), "models: at least one is needed".to_owned()));
        }
        let named = self.data.iter().filter_map(|d| d.get_ref().models.as_ref()).flatten();
        for name in self.models.get_ref().iter().chain(named) {
            if !known.models.contains(&name.get_ref().as_str()) {
                let names = known.models.join(", ");
                let message = format!("there is no model `{}`; the models are {names}", name.get_ref());
                return Err((name.span(), message));
            }
        }
        self.check_data()?;
        self.check_lists()?;
        if let Some(train) = &self.train {
            check_train(train, known)?;
        }
        let cells = self.size();
        if cells > CELLS_MAX {
            let message = format!("the study has {cells} runs; {CELLS_MAX} are allowed");
            return Err((self.models.span(), message));
        }
        Ok(())
    }

    fn check_data(&self) -> Result<(), (Range<usize>, String)> {
        for (index, data) in self.data.iter().enumerate() {
            let Data { name, path, storage, models } = data.get_ref();
            let wrong = |message: String| Err((data.span(), message));
            if self.data[..index].iter().any(|other| other.get_ref().name == *name) {
                return wrong(format!("the name `{name}` is there twice"));
            }
            if path.is_some() && !storage.is_empty() {
                return wrong(format!("data `{name}` has a path and storage: one of them is enough"));
            }
            let known = |model: &Spanned<String>| {
                self.models.get_ref().iter().any(|m| m.get_ref() == model.get_ref())
            };
            if let Some(unknown) = models.iter().flatten().find(|model| !known(model)) {
                let message = format!("`{}` is not among the study's models", unknown.get_ref());
                return Err((unknown.span(), message));
            }
        }
        Ok(())
    }

    fn check_lists(&self) -> Result<(), (Range<usize>, String)> {
        let empty = |name: &str| format!("{name}: an empty list gives no run; leave it out for the default");
        if let Some(workers) = self.workers.as_ref().filter(|w| w.get_ref().is_empty()) {
            return Err((workers.span(), empty("workers")));
        }
        if let Some(cache) = self.page_cache.as_ref().filter(|c| c.get_ref().is_empty()) {
            return Err((cache.span(), empty("page-cache")));
        }
        if let Some(sizes) = &self.batch_sizes {
            if sizes.get_ref().is_empty() {
                return Err((sizes.span(), empty("batch-sizes")));
            }
            if let Some(zero) = sizes.get_ref().iter().find(|size| *size.get_ref() == 0) {
                return Err((zero.span(), "batch-sizes: a minibatch has at least 1 sample".to_owned()));
            }
        }
        match self.modes.as_ref().map(|modes| (modes.get_ref(), modes.span())) {
            Some((Modes::All(word), span)) if word != "presets" => {
                let message = format!(
                    "modes: `{word}`: expected \"presets\" or a list such as [\"as-is\", \"{word}\"]"
                );
                return Err((span, message));
            }
            Some((Modes::List(list), span)) if list.is_empty() => return Err((span, empty("modes"))),
            _ => {}
        }
        match &self.repeats {
            Some(repeats) if *repeats.get_ref() == 0 => {
                Err((repeats.span(), "repeats: at least 1".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Runs, without those that data sets leave out; modes count as one where the machine tells how many there are.
    pub(crate) fn size(&self) -> usize {
        let storages: usize = self.data.iter().map(|d| d.get_ref().storage.len().max(1)).sum();
        let modes = match self.modes.as_ref().map(Spanned::get_ref) {
            Some(Modes::List(list)) => list.len(),
            _ => 1,
        };
        [
            self.models.get_ref().len(),
            storages.max(1),
            self.workers.as_ref().map_or(1, |w| w.get_ref().len()),
            self.batch_sizes.as_ref().map_or(1, |b| b.get_ref().len()),
            modes,
            self.page_cache.as_ref().map_or(1, |c| c.get_ref().len()),
            self.repeats.as_ref().map_or(1, |r| *r.get_ref() as usize),
        ]
        .into_iter()
        .fold(1, usize::saturating_mul)
    }
}

fn check_train(train: &Spanned<toml::Table>, known: Known<'_>) -> Result<(), (Range<usize>, String)> {
    let table = train.get_ref();
    if let Some((key, instead)) = OWN.iter().find(|(key, _)| table.contains_key(*key)) {
        return Err((train.span(), format!("train.{key} is set by the study: use {instead}")));
    }
    // The place within the table is not known: the message names the key.
    (known.check_train)(table).map_err(|problem| (train.span(), format!("[train]: {problem}")))
}

/// The line of a place in a text, from 1.
fn line(text: &str, span: &Range<usize>) -> usize {
    text.get(..span.start).map_or(1, |before| before.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Study, StudyError> {
        let check_train =
            |table: &toml::Table| match table.keys().find(|key| *key != "max-steps" && *key != "workers") {
                Some(key) => Err(format!("unknown field `{key}`")),
                None => Ok(()),
            };
        Study::parse(text, Known { models: &["lenet5", "resnet18"], check_train: &check_train })
    }

    #[test]
    fn a_study_is_read() {
        let study = parse(
            "title = \"t\"\nmodels = [\"lenet5\"]\nworkers = [0, \"auto\"]\nmodes = [\"MAXN\", { name = \"half\", cpu-cores = 2 }]\n\
             page-cache = [\"cold\"]\n[[data]]\nname = \"d\"\nstorage = { sd = \"/sd\", nvme = \"/nvme\" }\n[train]\nmax-steps = 5\n",
        )
        .unwrap();
        assert_eq!(study.size(), 8);
        assert_eq!(study.page_cache.unwrap().get_ref()[0].name(), "cold");
    }

    #[test]
    fn errors_tell_the_line_and_what_is_wrong() {
        let cases = [
            ("models = []\n", "line 1: models: at least one"),
            ("\nmodels = [\"lenet5\", \"vgg\"]\n", "line 2: there is no model `vgg`; the models are lenet5"),
            ("models = [\"lenet5\"]\nbatch-sizes = [16, 0]\n", "line 2: batch-sizes: a minibatch"),
            ("models = [\"lenet5\"]\nworkers = []\n", "line 2: workers: an empty list"),
            ("models = [\"lenet5\"]\nworkers = [\"many\"]\n", "line 2, column 11"),
            ("models = [\"lenet5\"]\nworker = [1]\n", "unknown field `worker`"),
            ("models = [\"lenet5\"]\nmodes = \"MAXN\"\n", "line 2: modes: `MAXN`: expected \"presets\""),
            ("models = [\"lenet5\"]\npage-cache = [\"hot\"]\n", "unknown variant `hot`"),
            ("models = [\"lenet5\"]\nrepeats = 0\n", "line 2: repeats: at least 1"),
            (
                "models = [\"lenet5\"]\n[train]\nworkers = 2\n",
                "train.workers is set by the study: use `workers`",
            ),
            ("models = [\"lenet5\"]\n[train]\nepoch = 2\n", "[train]: unknown field `epoch`"),
            (
                "models = [\"lenet5\"]\n[[data]]\nname = \"a\"\n[[data]]\nname = \"a\"\n",
                "the name `a` is there twice",
            ),
            (
                "models = [\"lenet5\"]\n[[data]]\nname = \"a\"\nmodels = [\"resnet18\"]\n",
                "line 4: `resnet18` is not among the study's models",
            ),
            ("models = [\"lenet5\"]\nrepeats = 200000\n", "200000 runs; 100000 are allowed"),
        ];
        for (text, expected) in cases {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
