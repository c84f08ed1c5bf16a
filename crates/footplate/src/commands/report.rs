//! `footplate report`: a run's page, or several runs side by side.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use footplate_core::runlog::{LineError, VERSION};
use footplate_files::whole;
use footplate_run::{RunFolder, log_reader};
use footplate_views::report::{Gather, RunView, compare, page};
use serde::Serialize;

use crate::commands::characterize::{self, Finished};
use crate::failure::{Failure, Kind};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  footplate report runs/20261124-101500-resnet18          writes report.html into the run's folder
  footplate report runs/a runs/b runs/c -o abc.html       side by side, with differences; repeats become mean ± deviation
  footplate report studies/small                          the runs of a study (footplate characterize)
  footplate report runs/a --json                          the figures as one JSON document, and where the page is

The page holds everything that it needs, and asks for nothing from a network. A run that goes on, was killed, or whose
log is cut off or damaged can be reported too. A file of records can stand in a folder's place.
Exit codes: 0 done, 2 usage, 3 not a run or no whole record, 4 the page cannot be written.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ReportArguments {
    /// Folders of runs; of more than one, a comparison is made
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,

    /// The file to write [default: report.html in the run's folder; comparison.html here for several]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Print one JSON document on stdout
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

pub(crate) fn run(arguments: &ReportArguments) -> Result<ExitCode, Failure> {
    if let [folder] = arguments.runs.as_slice()
        && let Some(Finished { title, views, notes }) = characterize::finished(folder)?
    {
        return write(arguments, &compare(&title, &views, &notes), folder.join("report.html"), &views);
    }
    let mut views = arguments.runs.iter().map(|run| read(run)).collect::<Result<Vec<_>, _>>()?;
    let (html, default) = match (views.as_mut_slice(), arguments.runs.as_slice()) {
        ([view], [run]) => (page(view), beside(run)),
        (views, _) => {
            tell_places_apart(views);
            let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
            (compare(&title(&names), views, &[]), PathBuf::from("comparison.html"))
        }
    };
    write(arguments, &html, default, &views)
}

fn write(
    arguments: &ReportArguments,
    html: &str,
    default: PathBuf,
    views: &[RunView],
) -> Result<ExitCode, Failure> {
    let path = arguments.out.clone().unwrap_or(default);
    let failed = |e| Failure::io("write", &path, &e).hint("name another file with -o");
    whole::write_bytes(&path, html.as_bytes()).map_err(failed)?;
    let text = if arguments.json { json(&path, views)? } else { path.display().to_string() };
    output::result(&text);
    Ok(ExitCode::SUCCESS)
}

fn title(names: &[&str]) -> String {
    match names.len() {
        0..=3 => format!("Comparison of {}", names.join(", ")),
        n => format!("Comparison of {n} runs"),
    }
}

/// Where a run's page is, unless something else is said.
fn beside(run: &Path) -> PathBuf {
    if run.is_dir() { run.join("report.html") } else { run.with_extension("html") }
}

/// Reads a run's log, line by line.
pub(crate) fn read(run: &Path) -> Result<RunView, Failure> {
    let path = log_reader::log_of(run)?;
    let mut gather = Gather::new(&run.display().to_string());
    let (mut whole, mut newer) = (0u64, None);
    log_reader::read_log(&path, |number, line| match line {
        Ok(record) => {
            whole += 1;
            gather.push(&record);
        }
        Err(error) => {
            if let LineError::Version { found, .. } = error {
                newer.get_or_insert(found);
            }
            gather.damaged(number, &error.to_string());
        }
    })?;
    if let Some(mut view) = gather.finish() {
        if let Ok(file) = RunFolder::open(run).and_then(|folder| folder.read_run_file::<toml::Table>()) {
            view.labels.insert("data folder".to_owned(), file.data.display().to_string());
        }
        return Ok(view);
    }
    let failure = match (whole, newer) {
        (0, Some(found)) => {
            let message =
                format!("{}: run log version {found}; this program reads up to {VERSION}", path.display());
            Failure::new(Kind::Data, message)
                .hint("a newer footplate wrote it: use that, or a newer one still")
        }
        (0, None) => Failure::new(Kind::Data, format!("{} holds no whole record", path.display()))
            .hint("a run that has just begun has none yet: try again in a moment"),
        _ => {
            Failure::new(Kind::Data, format!("{}: the record of the run's start is missing", path.display()))
                .hint("without it the log does not tell what was run")
        }
    };
    Err(failure)
}

/// The same data in several places is a difference of storage, unless a study has named it.
fn tell_places_apart(views: &mut [RunView]) {
    let place = |view: &RunView| view.labels.get("data folder").cloned();
    let differs = |a: &RunView, b: &RunView| a.data() == b.data() && place(a) != place(b);
    let is_storage = views.iter().any(|a| views.iter().any(|b| differs(a, b)));
    if !is_storage || views.iter().any(|view| view.labels.contains_key("storage")) {
        return;
    }
    for view in views {
        if let Some(place) = place(view) {
            view.labels.insert("storage".to_owned(), place);
        }
    }
}

fn json(path: &Path, views: &[RunView]) -> Result<String, Failure> {
    #[derive(Serialize)]
    struct Document<'a> {
        report: &'a Path,
        runs: Vec<serde_json::Value>,
    }
    let runs = views.iter().map(RunView::json).collect();
    serde_json::to_string_pretty(&Document { report: path, runs })
        .map_err(|e| Failure::new(Kind::Internal, e.to_string()))
}
