//! One run in a process of its own: the same program, so that memory, crashes and modes stay apart.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use footplate_data::page_cache::{self, Treated};
use footplate_run::study::cells::Cell;
use footplate_run::study::file::PageCache;
use footplate_run::study::folder::CellFolder;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::failure::{Failure, Kind};

/// How often the child and signals are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How a run ended.
pub(super) enum Ended {
    Done { notes: Vec<String> },
    Failed { error: String, notes: Vec<String> },
    Interrupted,
}

/// Trains once. `stop` is set by each signal: the first asks the child to end, the second kills it.
pub(super) fn run(
    cell: &Cell,
    data: Option<&Path>,
    folder: &CellFolder,
    stop: &AtomicBool,
) -> Result<Ended, Failure> {
    let mut notes = Vec::new();
    if let Some(path) = data {
        notes.extend(treat_cache(cell.cache, path, stop)?);
    }
    if stop.load(Ordering::Relaxed) {
        return Ok(Ended::Interrupted);
    }
    let settings = folder.write_settings(&cell.train_file(data))?;
    let mut child = command(cell, &settings, folder)?
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(folder.create_stderr()?)
        // A group of its own: a terminal's Ctrl-C reaches us alone, and we pass it on once.
        .process_group(0)
        .spawn()
        .map_err(|e| Failure::new(Kind::Machine, format!("cannot run footplate itself: {e}")))?;
    let (status, interrupted) = wait(&mut child, stop)?;
    if interrupted {
        return Ok(Ended::Interrupted);
    }
    if status.success() {
        return Ok(Ended::Done { notes });
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    };
    let why = folder.last_words().map_or(String::new(), |words| format!(": {words}"));
    Ok(Ended::Failed { error: format!("{how}{why}"), notes })
}

/// `footplate train …`, under `footplate mode set … --` where a mode is asked for.
fn command(cell: &Cell, settings: &Path, folder: &CellFolder) -> Result<Command, Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::new(Kind::Machine, format!("cannot find the program itself: {e}")))?;
    let mut command = Command::new(&program);
    if let Some(mode) = cell.mode.arguments() {
        command.args(["mode", "set"]).args(mode).arg("--").arg(&program);
    }
    command.args(["train", &cell.model, "--quiet", "--config"]).arg(settings);
    command.arg("--run-dir").arg(folder.run());
    Ok(command)
}

fn wait(child: &mut Child, stop: &AtomicBool) -> Result<(ExitStatus, bool), Failure> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let mut told = 0;
    loop {
        let status = child.try_wait();
        let status = status.map_err(|e| Failure::new(Kind::Machine, format!("waiting for the run: {e}")))?;
        if let Some(status) = status {
            return Ok((status, told > 0));
        }
        if stop.swap(false, Ordering::Relaxed) {
            let signal = if told == 0 { Signal::INT } else { Signal::KILL };
            if let Some(group) = group {
                let _ = kill_process_group(group, signal);
            }
            told += 1;
        }
        thread::sleep(LOOK);
    }
}

/// Makes the page cache what the study says. Gives what a reader should know of it.
fn treat_cache(cache: PageCache, path: &Path, stop: &AtomicBool) -> Result<Option<String>, Failure> {
    // Shards by a pattern: all files of their folder.
    let is_pattern = path.to_string_lossy().contains('{');
    let path = if is_pattern { path.parent().unwrap_or(path) } else { path };
    let failed = |e: std::io::Error| Failure::io("read", path, &e);
    match cache {
        PageCache::AsIs => Ok(None),
        PageCache::Warm => page_cache::read_in(path, stop).map(|_| None).map_err(failed),
        PageCache::Cold => {
            let Treated { asked, still_cached, .. } = page_cache::forget(path, stop).map_err(failed)?;
            let note = match (asked, still_cached) {
                (0, _) => Some(
                    "whether the page cache is cold is not known: this file system does not tell".to_owned(),
                ),
                (_, 0) => None,
                (asked, still) => Some(format!(
                    "the page cache is not cold: {still} of {asked} files that were asked are still in memory (a file system \
                     in memory, or pages that others hold)"
                )),
            };
            Ok(note)
        }
    }
}
