//! `footplate report`: a run's page, or several runs side by side.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use footplate_files::whole;
use footplate_run::{RunFolder, log_reader};
use footplate_views::report::{
    DATA_FOLDER, Gather, NoRun, RunView, compare, json, page, tell_storage_apart, title,
};

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
            tell_storage_apart(views);
            (compare(&title(views), views, &[]), PathBuf::from("comparison.html"))
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
    let text = if arguments.json {
        json(&path, views).map_err(|e| Failure::new(Kind::Internal, e.to_string()))?
    } else {
        path.display().to_string()
    };
    output::result(&text);
    Ok(ExitCode::SUCCESS)
}

/// Where a run's page is, unless something else is said.
fn beside(run: &Path) -> PathBuf {
    if run.is_dir() { run.join("report.html") } else { run.with_extension("html") }
}

/// Reads a run's log, line by line.
pub(crate) fn read(run: &Path) -> Result<RunView, Failure> {
    let path = log_reader::log_of(run)?;
    let mut gather = Gather::new(&run.display().to_string());
    log_reader::read_log(&path, |number, line| match line {
        Ok(record) => gather.push(&record),
        Err(error) => gather.damaged(number, &error),
    })?;
    let mut view = gather.finish().map_err(|why| no_run(&path, &why))?;
    if let Ok(file) = RunFolder::open(run).and_then(|folder| folder.read_run_file::<toml::Table>()) {
        view.labels.insert(DATA_FOLDER.to_owned(), file.data.display().to_string());
    }
    Ok(view)
}

fn no_run(path: &Path, why: &NoRun) -> Failure {
    let hint = match why {
        NoRun::Newer { .. } => "a newer footplate wrote it: use that, or a newer one still",
        NoRun::Empty => "a run that has just begun has none yet: try again in a moment",
        NoRun::NoStart => "without it the log does not tell what was run",
    };
    let message = match why {
        NoRun::Empty => format!("{} holds no whole record", path.display()),
        _ => format!("{}: {why}", path.display()),
    };
    Failure::new(Kind::Data, message).hint(hint)
}
