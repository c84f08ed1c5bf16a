//! Goals and knobs in words, as the run log, kept profiles and reports name them.

use footplate_tune::choose::duration_text as duration;
use footplate_tune::goal::{Goal, Objective};
use footplate_tune::{Knob, Knobs, Setting};

/// A goal in words. Kept profiles name their goal by this text.
pub fn goal_text(goal: &Goal) -> String {
    let objective = match goal.objective {
        Objective::Time => "least time".to_owned(),
        Objective::Energy => "least energy".to_owned(),
        Objective::Power => "least power".to_owned(),
        Objective::Zeus { eta, .. } => format!("least {eta} × energy + {} × power × time", 1.0 - eta),
    };
    let limits = &goal.limits;
    let mut parts = Vec::new();
    parts.extend(limits.power_w.map(|w| format!("at most {w} W")));
    parts.extend(limits.time_s.map(|s| format!("at most {} a step", duration(s))));
    parts.extend(limits.energy_j.map(|j| format!("at most {j:.4} J a step")));
    parts.extend(limits.slowdown.map(|s| format!("at most {:.0} % slower than the fastest", 100.0 * s)));
    parts.extend(limits.temperature_c.map(|c| format!("at most {c} °C")));
    if parts.is_empty() {
        objective
    } else {
        format!("{objective} with {} ({:.0} % sure)", parts.join(", "), 100.0 * goal.confidence)
    }
}

/// The knobs that vary in a space, in words.
pub fn knobs_text(space: &[Setting]) -> String {
    let names: Vec<&str> = Knobs::of(space).varying().map(Knob::name).collect();
    if names.is_empty() { "no knob".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use footplate_core::{Hertz, PowerMode};
    use footplate_tune::goal::Limits;

    /// Kept profiles name their goal by these texts: an interrupted tune finds its own by them.
    #[test]
    fn goals_keep_their_words() {
        let goal = |objective, limits| goal_text(&Goal { objective, limits, confidence: 0.9 });
        let none = Limits::default();
        assert_eq!(goal(Objective::Time, none), "least time");
        assert_eq!(
            goal(Objective::Energy, Limits { power_w: Some(7.5), ..none }),
            "least energy with at most 7.5 W (90 % sure)"
        );
        let zeus = Objective::Zeus { eta: 0.25, largest_power_w: 30.0 };
        assert_eq!(goal(zeus, none), "least 0.25 × energy + 0.75 × power × time");
        let all = Limits {
            power_w: None,
            time_s: Some(0.05),
            energy_j: Some(2.0),
            slowdown: Some(0.2),
            temperature_c: Some(80.0),
        };
        let text = "least power with at most 50.00 ms a step, at most 2.0000 J a step, at most 20 % slower than the \
                    fastest, at most 80 °C (90 % sure)";
        assert_eq!(goal(Objective::Power, all), text);
    }

    #[test]
    fn only_knobs_that_vary_are_named() {
        let mode =
            |mhz: u64| PowerMode { cpu_cores: Some(4), gpu_hz: Some(Hertz(mhz)), ..PowerMode::default() };
        let space = [Setting::of(mode(300)), Setting::of(mode(600))];
        assert_eq!(knobs_text(&space), "GPU clock");
        assert_eq!(knobs_text(&space[..1]), "no knob");
        assert_eq!(knobs_text(&[]), "no knob");
    }
}
