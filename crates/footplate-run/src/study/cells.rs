//! The cells of a study's grid: one run each, in an order that spreads repeats over the whole time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::file::{Data, Knobs, Mode, Modes, PageCache, Study, Workers};

/// Name of the mode that the machine is in already.
pub const AS_IS: &str = "as-is";

/// One run of a study.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The network's name in the registry.
    pub model: String,
    /// The data set's name in the study.
    pub data: String,
    /// The kind of storage that the data is on, where the study names some.
    pub storage: Option<String>,
    /// Location the data is; `None`: the data set that the program makes itself.
    pub path: Option<PathBuf>,
    /// What is done about the page cache before the run.
    pub cache: PageCache,
    /// The power mode of the run.
    pub mode: Mode,
    /// Samples in a minibatch; `None`: the model's default.
    pub batch_size: Option<u32>,
    /// The loader's workers; `None`: the loader's choice.
    pub workers: Option<Workers>,
    /// Which repeat it is, from 1.
    pub repeat: u32,
    /// Settings of the training, complete but for the data's path.
    pub train: toml::Table,
    /// The simulated board that takes this machine's place, if one does.
    pub sim: Option<String>,
}

/// What is kept beside a cell's run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CellFile {
    /// Of this file's format.
    pub version: u32,
    /// Hash of `settings`, which is also in the folder's name.
    pub hash: String,
    /// What became of it.
    pub state: CellState,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Why it failed, in the words of its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What a reader should know of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Everything that decides what is run.
    pub settings: String,
    /// Names for the page.
    pub labels: BTreeMap<String, String>,
}

/// What became of a cell.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellState {
    /// The run was made.
    Done,
    /// The run failed; another try begins anew.
    Failed,
}

/// The version of [`CellFile`].
pub const VERSION: u32 = 1;

impl CellFile {
    /// Of a run of `cell` that took so many seconds; with an error, it failed.
    pub fn new(cell: &Cell, seconds: f64, error: Option<String>, notes: Vec<String>) -> Self {
        let settings = cell.settings();
        let state = if error.is_some() { CellState::Failed } else { CellState::Done };
        let (hash, labels) = (hash(&settings), cell.labels());
        Self { version: VERSION, hash, state, seconds, error, notes, settings, labels }
    }
}

impl Mode {
    /// What it is called in the study.
    pub fn name(&self) -> &str {
        match self {
            Self::Named(name) | Self::Knobs(Knobs { name, .. }) => name,
        }
    }

    /// The arguments of `footplate mode set`; `None`: the mode is left alone.
    pub fn arguments(&self) -> Option<Vec<String>> {
        match self {
            Self::Named(name) if name == AS_IS => None,
            Self::Named(name) => Some(vec![name.clone()]),
            Self::Knobs(knobs) => {
                let flags = [
                    ("--cpu-cores", knobs.cpu_cores.map(|n| n.to_string())),
                    ("--cpu-clock", knobs.cpu_clock.clone()),
                    ("--gpu-clock", knobs.gpu_clock.clone()),
                    ("--emc-clock", knobs.emc_clock.clone()),
                ];
                let given = flags.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value?]));
                Some(given.flatten().collect())
            }
        }
    }
}

impl Cell {
    /// All that decides the run, as text: the same text is the same run.
    pub fn settings(&self) -> String {
        let mut table = toml::Table::new();
        let mut put = |key: &str, value: String| table.insert(key.to_owned(), toml::Value::String(value));
        put("model", self.model.clone());
        put("data", self.path.as_ref().map_or("embedded".to_owned(), |path| path.display().to_string()));
        put("page-cache", self.cache.name().to_owned());
        put("mode", self.mode.arguments().map_or(AS_IS.to_owned(), |arguments| arguments.join(" ")));
        put("repeat", self.repeat.to_string());
        if let Some(board) = &self.sim {
            put("sim", board.clone());
        }
        table.insert("train".to_owned(), toml::Value::Table(self.train.clone()));
        table.to_string()
    }

    /// Name of its folder: the hash makes it unique, the rest is for people.
    pub fn folder_name(&self) -> String {
        let words = [
            self.model.clone(),
            self.data.clone(),
            self.storage.clone().unwrap_or_default(),
            match self.cache {
                PageCache::AsIs => String::new(),
                other => other.name().to_owned(),
            },
            if self.mode.name() == AS_IS { String::new() } else { self.mode.name().to_owned() },
            self.batch_size.map_or(String::new(), |n| format!("b{n}")),
            self.workers.map_or(String::new(), |w| format!("w{}", workers_name(w))),
            format!("r{}", self.repeat),
        ];
        let safe = |word: &String| -> String {
            word.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '-' }).take(24).collect()
        };
        let words: Vec<String> = words.iter().filter(|word| !word.is_empty()).map(safe).collect();
        format!("{}-{}", words.join("-"), hash(&self.settings()))
    }

    /// The cell in words, for progress messages.
    pub fn words(&self) -> String {
        let mut words = vec![self.model.clone(), self.data.clone()];
        words.extend(self.storage.clone());
        if self.cache != PageCache::AsIs {
            words.push(format!("{} cache", self.cache.name()));
        }
        if self.mode.name() != AS_IS {
            words.push(self.mode.name().to_owned());
        }
        words.extend(self.batch_size.map(|n| format!("batch {n}")));
        words.extend(self.workers.map(|w| format!("{} workers", workers_name(w))));
        words.push(format!("repeat {}", self.repeat));
        words.join(", ")
    }

    /// Names of what was varied, for the page that compares the runs.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        let mut put = |key: &str, value: &str| labels.insert(key.to_owned(), value.to_owned());
        put("data", &self.data);
        put("page cache", self.cache.name());
        put("mode", self.mode.name());
        if let Some(storage) = &self.storage {
            put("storage", storage);
        }
        if let Some(Workers::Auto(_)) = self.workers {
            put("workers", "auto");
        }
        if let (Some(Workers::Fixed(n)), Some(_)) = (self.workers, &self.sim) {
            put("workers", &n.to_string());
        }
        labels
    }

    /// The settings file of the run's process. `data`: where the data is, unless the program makes it.
    pub fn train_file(&self, data: Option<&Path>) -> String {
        let mut table = self.train.clone();
        if let Some(path) = data {
            table.insert("data".to_owned(), toml::Value::String(path.display().to_string()));
        }
        table.to_string()
    }
}

fn workers_name(workers: Workers) -> String {
    match workers {
        Workers::Fixed(n) => n.to_string(),
        Workers::Auto(_) => "auto".to_owned(),
    }
}

/// FNV-1a, 64 bits: stable over versions of the compiler. What it stands for is kept beside it and compared.
fn hash(text: &str) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// All runs of a study. Relative paths are taken from `folder`, the study file's. `presets` are what the word "presets"
/// means here.
pub fn cells(study: &Study, folder: &Path, presets: &[String], sim: Option<&str>) -> Vec<Cell> {
    let modes = match study.modes.as_ref().map(Spanned::get_ref) {
        Some(Modes::List(list)) => list.clone(),
        Some(Modes::All(_)) => presets.iter().cloned().map(Mode::Named).collect(),
        None => vec![Mode::Named(AS_IS.to_owned())],
    };
    let mut cells = Vec::new();
    for repeat in 1..=study.repeats.as_ref().map_or(1, |n| *n.get_ref()) {
        for model in study.models.get_ref() {
            for (data, storage, path) in locations(study, model.get_ref(), folder) {
                for cache in study.page_cache.as_ref().map_or(vec![PageCache::AsIs], |c| c.get_ref().clone())
                {
                    for mode in &modes {
                        for batch_size in options(study.batch_sizes.as_ref(), |n| *n) {
                            for workers in options(study.workers.as_ref(), |w| *w) {
                                let train = train(study, batch_size, workers, repeat);
                                cells.push(Cell {
                                    model: model.get_ref().clone(),
                                    data: data.clone(),
                                    storage: storage.clone(),
                                    path: path.clone(),
                                    cache,
                                    mode: mode.clone(),
                                    batch_size,
                                    workers,
                                    repeat,
                                    train,
                                    sim: sim.map(ToOwned::to_owned),
                                });
                            }
                        }
                    }
                }
            }
        }
    }
    cells
}

fn options<T: Copy, U>(list: Option<&Spanned<Vec<Spanned<T>>>>, of: impl Fn(&T) -> U) -> Vec<Option<U>> {
    match list {
        Some(list) => list.get_ref().iter().map(|item| Some(of(item.get_ref()))).collect(),
        None => vec![None],
    }
}

/// A data set's name, kind of storage and path.
type Location = (String, Option<String>, Option<PathBuf>);

/// The data sets of a model, on each kind of storage.
fn locations(study: &Study, model: &str, folder: &Path) -> Vec<Location> {
    let absolute = |path: &Path| {
        let path = folder.join(path);
        std::path::absolute(&path).unwrap_or(path)
    };
    let of = |data: &Data| -> Vec<Location> {
        if data.storage.is_empty() {
            return vec![(data.name.clone(), None, data.path.as_deref().map(absolute))];
        }
        let storages = data.storage.iter();
        storages.map(|(kind, path)| (data.name.clone(), Some(kind.clone()), Some(absolute(path)))).collect()
    };
    if study.data.is_empty() {
        return vec![("signals".to_owned(), None, None)];
    }
    let takes = |data: &&Data| match &data.models {
        Some(models) => models.iter().any(|m| m.get_ref() == model),
        None => true,
    };
    study.data.iter().map(Spanned::get_ref).filter(takes).flat_map(of).collect()
}

/// The settings of one run: those of all, and what is varied. Repeats differ in their seed.
fn train(study: &Study, batch_size: Option<u32>, workers: Option<Workers>, repeat: u32) -> toml::Table {
    let mut table = study.train.as_ref().map_or_else(toml::Table::new, |train| train.get_ref().clone());
    let seed = table.get("seed").and_then(toml::Value::as_integer).unwrap_or(0);
    table.insert("seed".to_owned(), toml::Value::Integer(seed.saturating_add(i64::from(repeat) - 1)));
    if let Some(size) = batch_size {
        table.insert("batch-size".to_owned(), toml::Value::Integer(i64::from(size)));
    }
    if let Some(Workers::Fixed(n)) = workers {
        table.insert("workers".to_owned(), toml::Value::Integer(i64::from(n)));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::file::Known;

    fn study(text: &str) -> Vec<Cell> {
        let presets = ["MAXN".to_owned(), "MODE_15W".to_owned()];
        let known = Known { models: &["lenet5", "resnet18"], check_train: &|_| Ok(()) };
        cells(&Study::parse(text, known).unwrap(), Path::new("/studies"), &presets, None)
    }

    #[test]
    fn the_grid_is_the_product_and_repeats_come_last() {
        let cells = study(
            "models = [\"lenet5\", \"resnet18\"]\nworkers = [0, 1]\nbatch-sizes = [16]\nmodes = \"presets\"\nrepeats = 2\n\
             [[data]]\nname = \"small\"\nmodels = [\"lenet5\"]\n[[data]]\nname = \"photos\"\nstorage = { sd = \"sd\", ssd = \"/ssd\" }\n\
             [train]\nseed = 7\n",
        );
        // lenet5 on three places, resnet18 on two; 2 modes, 2 workers, 2 repeats.
        assert_eq!(cells.len(), 5 * 2 * 2 * 2);
        assert!(cells[..20].iter().all(|cell| cell.repeat == 1));
        assert_eq!(cells[0].path, None);
        assert!(cells.iter().any(|c| c.path.as_deref() == Some(Path::new("/studies/sd"))));
        assert_eq!(
            (cells[0].train["seed"].as_integer(), cells[20].train["seed"].as_integer()),
            (Some(7), Some(8))
        );
        let mut folders: Vec<String> = cells.iter().map(Cell::folder_name).collect();
        folders.sort();
        folders.dedup();
        assert_eq!(folders.len(), cells.len(), "every cell has a folder of its own");
    }

    #[test]
    fn the_hash_is_stable_and_follows_the_settings() {
        assert_eq!(hash(""), "cbf29ce484222325");
        assert_eq!(hash("a"), "af63dc4c8601ec8c");
        let one = study("models = [\"lenet5\"]\n");
        let other = study("models = [\"lenet5\"]\n[train]\nepochs = 2\n");
        assert_eq!(one[0].folder_name(), study("models = [\"lenet5\"]\n")[0].folder_name());
        assert_ne!(one[0].folder_name(), other[0].folder_name());
    }

    #[test]
    fn names_of_folders_hold_nothing_but_letters_digits_and_dashes() {
        let cells = study("models = [\"lenet5\"]\n[[data]]\nname = \"../a b/<c>\"\n");
        assert!(cells[0].folder_name().starts_with("lenet5----a-b--c--r1-"), "{}", cells[0].folder_name());
    }
}
