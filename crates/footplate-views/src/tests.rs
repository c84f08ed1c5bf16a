//! What holds for every view at once: the screen, the lines, the metrics, the summary and the report.

use core::time::Duration;

use footplate_core::record::{ProfilePurpose, ProfiledRecord, RunEnd};
use footplate_core::summary::SummaryBuilder;
use footplate_core::{Joules, Reading, Record, Watts};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};

use crate::live::{Ansi, LiveState, Look, Moment, draw};
use crate::plain::{Message, messages, progress};
use crate::report::{Gather, RunView, compare, page};
use crate::testing::{self, HOSTILE, arbitrary, assert_well_formed, end, minibatch, start};
use crate::{metrics, summary};

fn seen(records: &[Record]) -> LiveState {
    let mut state = LiveState::default();
    records.iter().for_each(|record| state.push(record));
    state
}

fn screen(state: &LiveState, look: Look, (width, height): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let moment = Moment { since_last: Duration::from_secs(3), keys: "q leave", notice: Some(HOSTILE) };
    terminal.draw(|frame| draw(frame, state, &moment, look)).unwrap();
    terminal.backend().buffer().clone()
}

fn rows(buffer: &Buffer) -> String {
    let rows = buffer.content.chunks(usize::from(buffer.area.width));
    rows.map(|row| row.iter().map(Cell::symbol).collect::<String>() + "\n").collect()
}

fn view(records: &[Record]) -> Option<RunView> {
    let mut gather = Gather::new(HOSTILE);
    records.iter().for_each(|record| gather.push(record));
    gather.finish().ok()
}

/// Each line of the plain view, without the time.
fn lines(records: &[Record]) -> Vec<String> {
    let mut state = LiveState::default();
    let mut lines = Vec::new();
    for record in records {
        state.push(record);
        lines.extend(messages(record, &state).into_iter().map(|message| match message {
            Message::Line(text) => text,
            Message::Warning(text) => format!("warning: {text}"),
        }));
        lines.extend(progress(record, &state));
    }
    lines
}

fn summary_of(records: &[Record]) -> Option<String> {
    let mut figures = SummaryBuilder::default();
    records.iter().for_each(|record| figures.push(record));
    Some(summary::text(&figures.summary()?, &figures.energy(), HOSTILE))
}

fn begun() -> Vec<Record> {
    let steps = (0..4).map(|step| Record::Minibatch(minibatch(step, 1_000_000_000)));
    [Record::RunStart(start())].into_iter().chain(steps).collect()
}

/// One quantity for each surface on which it is shown.
fn surfaces(power: &Reading<Watts>) -> Vec<(&'static str, String)> {
    let energy_j = power.clone().map(|watts| Joules(watts.0));
    let Record::RunEnd(end) = end(4_000_000_000, 4) else { unreachable!() };
    let mut records = begun();
    records.push(Record::Power(testing::power(4, power.clone())));
    let profiled = Record::Profile(ProfiledRecord {
        t_ns: 1,
        purpose: ProfilePurpose::Search,
        mode: Default::default(),
        got: Default::default(),
        workers: None,
        steps: 4,
        step_s: 0.1,
        step_error_s: 0.0,
        stall_share: Some(0.0),
        power_w: power.clone(),
        throttled: Vec::new(),
        simulated: false,
    });
    let live = seen(&records);
    let ended: Vec<Record> =
        records.iter().cloned().chain([Record::RunEnd(RunEnd { energy_j, ..end })]).collect();
    vec![
        ("the screen", rows(&screen(&live, Look::FULL, (80, 24)))),
        ("the screen's terminal of ASCII", rows(&screen(&live, Look::BARE, (80, 24)))),
        ("the metrics", metrics::text(&live, 0.0)),
        ("the lines", lines(&[profiled]).concat()),
        ("the summary", summary_of(&ended).unwrap()),
        ("the page of a live run", page(&view(&records).unwrap())),
        ("the page of a finished run", page(&view(&ended).unwrap())),
    ]
}

#[test]
fn absent_unreadable_and_zero_look_different_on_every_surface() {
    let zero = surfaces(&Reading::Value(Watts(0.0)));
    let absent = surfaces(&Reading::Absent);
    let unreadable = surfaces(&Reading::unreadable("permission denied"));
    for (((name, zero), (_, absent)), (_, unreadable)) in zero.iter().zip(&absent).zip(&unreadable) {
        assert_ne!(zero, absent, "{name}");
        assert_ne!(zero, unreadable, "{name}");
        for missing in [absent, unreadable] {
            assert!(!missing.contains("0.00 W") && !missing.contains("0.0 J"), "{name}: {missing}");
        }
        // A metric cannot say why it is missing.
        assert_eq!(absent == unreadable, *name == "the metrics", "{name}");
    }
}

/// No sequence that steers a terminal comes from anywhere but the encoder itself.
#[test]
fn nothing_of_a_log_steers_the_terminal() {
    let mut records = begun();
    for _ in 0..3 {
        let text = HOSTILE.to_owned();
        records.push(Record::Warning(footplate_core::record::WarningRecord { message: text }));
    }
    let drawn = screen(&seen(&records), Look::FULL, (80, 24));
    let mut out = Vec::new();
    let mut ansi = Ansi::new(&mut out, || None);
    let before = Buffer::empty(drawn.area);
    ratatui::backend::Backend::draw(&mut ansi, before.diff(&drawn).into_iter()).unwrap();
    ratatui::backend::Backend::flush(&mut ansi).unwrap();
    let text = String::from_utf8(out).unwrap();
    for sequence in text.split('\u{1b}').skip(1) {
        let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
        let (inside, rest) = sequence.split_at(end);
        assert!(inside.strip_prefix('[').is_some_and(|n| n.chars().all(|c| c.is_ascii_digit() || c == ';')));
        assert!(rest.starts_with('m') || rest.starts_with('H'), "{sequence:?}");
        assert!(!rest.chars().any(char::is_control), "{sequence:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Whatever a log holds, in whatever order: each view shows something, and nothing of it gets out of its place.
    #[test]
    fn any_records_in_any_order_have_every_view(
        mut records in prop::collection::vec(arbitrary::record(), 0..24),
        start_at in prop::option::of(0usize..24),
        size in (1u16..200, 1u16..60),
        cut in any::<prop::sample::Index>(),
    ) {
        if let Some(at) = start_at {
            records.insert(at.min(records.len()), Record::RunStart(start()));
        }
        let state = seen(&records);
        for look in [Look::FULL, Look::BARE] {
            let shown = screen(&state, look, size);
            prop_assert!(shown.content.iter().all(|cell| !cell.symbol().chars().any(char::is_control)));
            prop_assert!(look.unicode || shown.content.iter().all(|cell| cell.symbol().is_ascii()));
        }
        metrics::tests::check(&metrics::text(&state, 1.0));
        lines(&records);
        let begins = records.iter().any(|record| matches!(record, Record::RunStart(_)));
        prop_assert_eq!(summary_of(&records).is_some(), begins);
        prop_assert_eq!(view(&records).is_some(), begins);
        // A prefix is a run that goes on: it and the whole can be compared with each other.
        let views: Vec<RunView> =
            [&records[..cut.index(records.len() + 1)], &records].into_iter().filter_map(view).collect();
        views.iter().for_each(|view| assert_well_formed(&page(view)));
        assert_well_formed(&compare(HOSTILE, &views, &[HOSTILE.to_owned()]));
        crate::report::json(std::path::Path::new("page.html"), &views).unwrap();
    }
}
