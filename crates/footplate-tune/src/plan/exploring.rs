//! The beginning of a search: settings that fill the space, then those whose measurement tells most.

use super::{Outlook, Search};
use crate::predict::Predictor;
use crate::setting::{Point, Setting};

/// Settings that one step of planning compares at most: a bound of its time.
const CLOSE_LOOK: usize = 160;

impl Search {
    /// Fills the space: the largest setting first, then perhaps the smallest, then what is farthest from all that was measured.
    pub(super) fn fill_space(&mut self, open: &[usize], both_ends: bool) -> usize {
        let position = |setting: &Setting| self.knobs.position(&self.knobs.point(setting));
        let largest = |i: &usize| position(&self.space[*i]).iter().sum::<f64>();
        if self.measured.is_empty() && self.retreats > 0 {
            // The largest could not be held: the middle, then a quarter.
            let share = 0.5f64.powi(self.retreats.min(8));
            let away = |i: &usize| {
                let here = position(&self.space[*i]);
                self.knobs.varying().map(|k| (here[k as usize] - share).powi(2)).sum::<f64>()
            };
            let nearest = open.iter().min_by(|a, b| away(a).total_cmp(&away(b)).then(a.cmp(b)));
            return nearest.copied().unwrap_or(open[0]);
        }
        if self.measured.is_empty() {
            let best = open.iter().max_by(|a, b| largest(a).total_cmp(&largest(b)).then(b.cmp(a)));
            return best.copied().unwrap_or(open[0]);
        }
        if self.measured.len() == 1 && both_ends {
            // The other end: whether the limits can be held at all.
            let least = open.iter().min_by(|a, b| largest(a).total_cmp(&largest(b)).then(a.cmp(b)));
            return least.copied().unwrap_or(open[0]);
        }
        let there: Vec<Point> = self.measured.iter().map(|m| position(&m.setting)).collect();
        let nearest = |i: usize| {
            let here = position(&self.space[i]);
            there.iter().map(|point| distance(&here, point)).fold(f64::MAX, f64::min)
        };
        let pool: Vec<usize> =
            self.rng.clone().sample(open.len(), CLOSE_LOOK).into_iter().map(|i| open[i]).collect();
        self.rng.next_u64();
        pool.into_iter().max_by(|a, b| nearest(*a).total_cmp(&nearest(*b))).unwrap_or(open[0])
    }

    /// The setting whose measurement would reduce the variance of the promising ones most.
    pub(super) fn explore(&mut self, open: &[usize], outlook: &Outlook) -> usize {
        self.most_informative(open, &promising(outlook, open), &outlook.predictor)
    }

    pub(super) fn most_informative(
        &mut self,
        open: &[usize],
        about: &[usize],
        predictor: &Predictor,
    ) -> usize {
        let mut draw = |from: &[usize]| -> Vec<usize> {
            self.rng.sample(from.len(), CLOSE_LOOK).into_iter().map(|i| from[i]).collect()
        };
        let (pool, over) = (draw(open), draw(about));
        let settings = |of: &[usize]| -> Vec<Setting> { of.iter().map(|i| self.space[*i]).collect() };
        let gains = predictor.gain(&settings(&pool), &settings(&over));
        let order = (0..pool.len()).max_by(|a, b| gains[*a].total_cmp(&gains[*b]));
        order.map_or(open[0], |i| pool[i])
    }
}

/// Open settings that may turn out best: those with a fair chance to hold the limits, the best fifth by objective.
fn promising(outlook: &Outlook, open: &[usize]) -> Vec<usize> {
    let goal = &outlook.goal;
    let mut scored: Vec<(f64, usize)> = Vec::new();
    for index in open {
        let prediction = &outlook.candidates[*index].prediction;
        let Some(objective) = goal.objective_of(prediction) else { continue };
        if goal.probability(prediction) > 0.05 {
            scored.push((objective.quantile(-1.0), *index));
        }
    }
    scored.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    scored.truncate((scored.len() / 5).max(40));
    if scored.is_empty() { open.to_vec() } else { scored.into_iter().map(|s| s.1).collect() }
}

fn distance(a: &Point, b: &Point) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}
