//! What was measured, and what was to be reached.

use crate::inits::{CLAWINIT, Init, TINI};

/// The middle of some samples, and how far they spread: a quarter of them lies below `low`, a
/// quarter above `high`.
#[derive(Clone, Copy)]
pub struct Cell {
    pub low: f64,
    pub middle: f64,
    pub high: f64,
    pub count: usize,
}

impl Cell {
    /// None where there are no samples.
    pub fn of(samples: &[f64]) -> Option<Cell> {
        let at = |part| quantile(samples, part);
        Some(Cell { low: at(0.25)?, middle: at(0.5)?, high: at(0.75)?, count: samples.len() })
    }

    /// A figure without spread.
    pub fn exact(figure: f64) -> Cell {
        Cell { low: figure, middle: figure, high: figure, count: 1 }
    }
}

/// The sample below which this part of them lies.
pub fn quantile(samples: &[f64], part: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * part).round() as usize).copied()
}

/// What clawinit is to reach.
#[derive(Clone, Copy)]
pub enum Target {
    /// At most this.
    AtMost(f64),
    /// At most so many times the figure of tini.
    TimesTini(f64),
    /// At most so many times the best figure of the others.
    TimesBest(f64),
    /// Less than each of the others.
    UnderAll,
}

/// One line of the comparison.
pub struct Row {
    /// A word for programs.
    pub key: String,
    /// What it is, for people.
    pub what: String,
    pub unit: &'static str,
    /// One for each init, in their order.
    pub cells: Vec<Option<Cell>>,
    /// Of supervisors, which are no inits.
    pub others: Vec<(&'static str, Cell)>,
    pub targets: Vec<Target>,
    /// Noise does not move it, so a broken target is an error.
    pub is_budget: bool,
}

impl Row {
    pub fn new(key: &str, what: &str, unit: &'static str) -> Row {
        Row {
            key: key.to_string(),
            what: what.to_string(),
            unit,
            cells: Vec::new(),
            others: Vec::new(),
            targets: Vec::new(),
            is_budget: false,
        }
    }

    pub fn cells(mut self, cells: Vec<Option<Cell>>) -> Row {
        self.cells = cells;
        self
    }

    /// The medians of samples, a list for each init.
    pub fn samples(self, samples: &[Vec<f64>]) -> Row {
        self.cells(samples.iter().map(|samples| Cell::of(samples)).collect())
    }

    pub fn target(mut self, target: Target) -> Row {
        self.targets.push(target);
        self
    }

    pub fn budget(mut self) -> Row {
        self.is_budget = true;
        self
    }

    pub fn cell(&self, init: usize) -> Option<Cell> {
        *self.cells.get(init)?
    }

    pub fn middle(&self, init: usize) -> Option<f64> {
        Some(self.cell(init)?.middle)
    }

    /// How many times tini's figure.
    pub fn ratio(&self, init: usize) -> Option<f64> {
        let tini = self.middle(TINI).filter(|tini| *tini > 0.0)?;
        Some(self.middle(init)? / tini)
    }

    /// The lowest figure of the others, and whose it is.
    fn best<'a>(&self, inits: &'a [Init]) -> Option<(f64, &'a str)> {
        let peers = inits.iter().enumerate().filter(|(_, init)| init.is_peer());
        let figures = peers.filter_map(|(i, init)| Some((self.middle(i)?, init.name)));
        figures.min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Each target in words, and whether it is met; none where there is no figure.
    pub fn verdicts(&self, inits: &[Init]) -> Vec<(String, Option<bool>)> {
        let own = self.middle(CLAWINIT);
        let verdict = |target: &Target| match *target {
            Target::AtMost(most) => {
                (format!("at most {} {}", show(most), self.unit), own.map(|own| own <= most))
            }
            Target::TimesTini(most) => {
                let ratio = self.ratio(CLAWINIT);
                let got = ratio.map_or(String::new(), |ratio| format!(", is {ratio:.2}"));
                (format!("at most {most:.2} x tini{got}"), ratio.map(|ratio| ratio <= most))
            }
            Target::TimesBest(most) => {
                let best = self.best(inits);
                let ratio = own.zip(best).map(|(own, (best, _))| own / best);
                let got = best.zip(ratio).map_or(String::new(), |((_, name), ratio)| {
                    format!(" ({name}), is {ratio:.2}")
                });
                (
                    format!("at most {most:.2} x the best peer{got}"),
                    ratio.map(|ratio| ratio <= most),
                )
            }
            Target::UnderAll => {
                let best = self.best(inits);
                let met = own.zip(best).map(|(own, (best, _))| own < best);
                ("under every peer".to_string(), met)
            }
        };
        self.targets.iter().map(verdict).collect()
    }

    /// What is told of a budget that is broken.
    pub fn missed(&self, inits: &[Init]) -> Option<String> {
        let missed: Vec<String> = self
            .verdicts(inits)
            .into_iter()
            .filter(|(_, met)| *met == Some(false))
            .map(|(words, _)| words)
            .collect();
        let own = show(self.middle(CLAWINIT)?);
        (!missed.is_empty())
            .then(|| format!("{}: {own} {}, to be {}", self.what, self.unit, missed.join(" and ")))
    }
}

/// A figure with three digits that say something.
pub fn show(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 || figure.fract() == 0.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}
