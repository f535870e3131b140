//! The rows as pictures: SVG, drawn here so that nothing has to be installed for it.

use crate::figures::{Row, Target, show};
use crate::inits::{CLAWINIT, Init};
use crate::machine::Machine;
use crate::rows::signals::{LATEST, Losses};
use std::fmt::Write;

const WIDTH: f64 = 920.0;
/// Title, machine and legend.
const HEAD: f64 = 104.0;
const GRID: &str = "#dee2e6";
const TEXT: &str = "#343a40";
const FAINT: &str = "#868e96";

/// The colour of an init.
fn colour(name: &str) -> &'static str {
    match name {
        "clawinit" => "#e8590c",
        "tini" => "#1864ab",
        "tini-static" => "#4dabf7",
        "dumb-init" => "#2b8a3e",
        "catatonit" => "#9c36b5",
        _ => "#adb5bd",
    }
}

struct Picture {
    text: String,
}

impl Picture {
    fn new(height: f64, title: &str, machine: &Machine) -> Picture {
        let mut picture = Picture {
            text: format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
                 font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"13\">\n\
                 <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
            ),
        };
        picture.add(format_args!(
            "<text x=\"20\" y=\"30\" font-size=\"18\" font-weight=\"bold\" fill=\"{TEXT}\">{}</text>",
            escape(title)
        ));
        picture.words(20.0, 52.0, "start", FAINT, &machine.line());
        picture
    }

    fn add(&mut self, element: std::fmt::Arguments) {
        let _ = writeln!(self.text, "{element}");
    }

    fn words(&mut self, x: f64, y: f64, anchor: &str, fill: &str, words: &str) {
        let words = escape(words);
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{fill}\">{words}</text>"
        ));
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str, more: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.add(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{stroke}\" {more}/>"
        ));
    }

    /// A dot: hollow for what is there to show noise.
    fn dot(&mut self, at: (f64, f64), radius: f64, fill: &str, hollow: bool) {
        let (x, y) = at;
        let look = if hollow {
            format!("fill=\"white\" stroke=\"{fill}\" stroke-width=\"2\"")
        } else {
            format!("fill=\"{fill}\" stroke=\"white\"")
        };
        self.add(format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" {look}/>"));
    }

    fn curve(&mut self, points: &[(f64, f64)], init: &Init) {
        let path: String = points.iter().map(|(x, y)| format!("{x:.1},{y:.1} ")).collect();
        let width = if init.name == "clawinit" { 3.5 } else { 2.0 };
        self.add(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"/>",
            path.trim_end(),
            colour(init.name)
        ));
    }

    /// The names of the inits beside their colours, in one line.
    fn legend(&mut self, inits: &[&Init]) {
        let mut x = 28.0;
        for init in inits {
            let radius = if init.name == "clawinit" { 7.0 } else { 5.5 };
            self.dot((x, 76.0), radius, colour(init.name), init.is_noise_check);
            self.words(x + 12.0, 80.5, "start", TEXT, init.name);
            x += 42.0 + 7.4 * init.name.len() as f64;
        }
    }

    fn done(mut self) -> String {
        self.text += "</svg>\n";
        self.text
    }
}

fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace(" us", " µs").replace(" x ", " × ")
}

/// A logarithmic axis from `low` to `high`, which lie at `from` and `to` in the picture.
#[derive(Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn at(self, figure: f64) -> f64 {
        let part =
            (figure.clamp(self.low, self.high) / self.low).ln() / (self.high / self.low).ln();
        self.from + part * (self.to - self.from)
    }

    /// Whole decades around these figures.
    fn around(figures: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Axis {
        let low = figures.clone().fold(f64::INFINITY, f64::min);
        let high = figures.fold(f64::NEG_INFINITY, f64::max);
        let low = 10f64.powf(low.max(1e-6).log10().floor());
        Axis { low, high: 10f64.powf(high.max(low * 2.0).log10().ceil()), from, to }
    }

    fn decades(self) -> impl Iterator<Item = f64> {
        let count = (self.high / self.low).log10().round() as i32;
        (0..=count).map(move |power| self.low * 10f64.powi(power))
    }
}

/// The rows of the first picture.
const COMPARED: [&str; 15] = [
    "start",
    "start-untrapped",
    "start-instructions",
    "forward",
    "exit",
    "reap-one",
    "reap-burst",
    "stop",
    "stop-100",
    "storm-p50",
    "storm-p99",
    "early-lost",
    "early-window",
    "memory-resident",
    "memory-dirty",
];

/// A short name of a row.
fn short(row: &Row) -> &str {
    match row.key.as_str() {
        "start" => "start",
        "start-untrapped" => "start, without trapped CPUID",
        "start-instructions" => "instructions before the fork",
        "forward" => "forward a signal, idle",
        "exit" => "exit",
        "reap-one" => "CPU for an orphan, one by one",
        "reap-burst" => "CPU for an orphan, 50 at once",
        "stop" => "stop",
        "stop-100" => "stop with 100 leftovers",
        "storm-p50" => "forward in a storm, p50",
        "storm-p99" => "forward in a storm, p99",
        "early-lost" => "early SIGTERMs lost",
        "early-window" => "own window before signals are safe",
        "memory-resident" => "memory, resident",
        "memory-dirty" => "memory, private dirty",
        _ => &row.what,
    }
}

/// Each row as a multiple of tini's figure.
pub fn ratios(machine: &Machine, inits: &[Init], rows: &[Row]) -> String {
    const HIGH: f64 = 30.0;
    let rows: Vec<&Row> = rows
        .iter()
        .filter(|row| COMPARED.contains(&row.key.as_str()) && row.ratio(CLAWINIT).is_some())
        .collect();
    let shown: Vec<(usize, &Init)> =
        inits.iter().enumerate().filter(|(_, init)| init.path.is_some()).collect();
    let bottom = HEAD + 24.0 + HIGH * rows.len() as f64;
    let mut picture =
        Picture::new(bottom + 64.0, "What an init costs, as a multiple of tini's figure", machine);
    picture.legend(&shown.iter().map(|(_, init)| *init).collect::<Vec<_>>());
    let ratios = rows.iter().flat_map(|row| shown.iter().filter_map(|(i, _)| row.ratio(*i)));
    let most = ratios.fold(2.0, f64::max).min(20.0);
    let axis = Axis { low: 0.02, high: most * 1.1, from: 290.0, to: 840.0 };
    for tick in [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .filter(|tick| *tick <= axis.high)
    {
        let x = axis.at(tick);
        let look = if tick == 1.0 { "stroke-width=\"2\"" } else { "" };
        let stroke = if tick == 1.0 { FAINT } else { GRID };
        picture.line((x, HEAD + 8.0), (x, bottom), stroke, look);
        let label = if tick == 0.02 { "≤ 0.02".to_string() } else { format!("{tick}") };
        picture.words(x, bottom + 20.0, "middle", FAINT, &label);
    }
    for (number, row) in rows.iter().enumerate() {
        let y = HEAD + 24.0 + HIGH * number as f64;
        picture.words(276.0, y + 4.5, "end", TEXT, short(row));
        picture.line((axis.from, y), (axis.to, y), GRID, "stroke-dasharray=\"2 4\"");
        for target in &row.targets {
            if let Target::TimesTini(most) = target {
                let x = axis.at(*most);
                picture.line((x, y - 11.0), (x, y + 11.0), "#e03131", "stroke-width=\"2\"");
            }
        }
        // clawinit last, so that nothing lies over it.
        for (i, init) in shown.iter().rev() {
            if let Some(ratio) = row.ratio(*i) {
                let radius = if *i == CLAWINIT { 7.0 } else { 5.5 };
                picture.dot((axis.at(ratio), y), radius, colour(init.name), init.is_noise_check);
            }
        }
        if let Some(ratio) = row.ratio(CLAWINIT) {
            picture.add(format_args!(
                "<text x=\"900\" y=\"{:.1}\" text-anchor=\"end\" font-weight=\"bold\" fill=\"{}\">{ratio:.2}</text>",
                y + 4.5,
                colour("clawinit")
            ));
        }
    }
    picture.words(
        axis.from,
        bottom + 46.0,
        "start",
        FAINT,
        "red bars: the most that clawinit aims at; right: clawinit's ratio; less is better",
    );
    picture.done()
}

/// The share of SIGTERMs that are lost, by the time after exec.
pub fn early(machine: &Machine, inits: &[Init], losses: &Losses) -> String {
    let (left, right, top, bottom) = (70.0, 890.0, HEAD + 10.0, 400.0);
    let mut picture =
        Picture::new(460.0, "SIGTERMs that are lost early in an init's life", machine);
    let shown: Vec<(usize, &Init)> = inits
        .iter()
        .enumerate()
        .filter(|(i, init)| !losses.sent[*i].is_empty() && !init.is_noise_check)
        .collect();
    picture.legend(&shown.iter().map(|(_, init)| *init).collect::<Vec<_>>());
    let at = |time: f64, share: f64| {
        (left + time / LATEST as f64 * (right - left), bottom - share * (bottom - top))
    };
    for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
        picture.line(at(0.0, share), at(LATEST as f64, share), GRID, "");
        let (x, y) = at(0.0, share);
        picture.words(x - 10.0, y + 4.5, "end", FAINT, &format!("{:.0}%", share * 100.0));
    }
    for time in (0..=LATEST).step_by(250) {
        let (x, y) = at(time as f64, 0.0);
        picture.line((x, y), (x, y + 5.0), FAINT, "");
        picture.words(x, y + 22.0, "middle", FAINT, &format!("{time}"));
    }
    picture.words(
        (left + right) / 2.0,
        bottom + 46.0,
        "middle",
        FAINT,
        "microseconds from exec to the signal",
    );
    for (i, init) in shown.iter().rev() {
        let points: Vec<(f64, f64)> = losses
            .curve(*i)
            .into_iter()
            .filter(|(time, _)| *time <= LATEST as f64)
            .map(|(time, share)| at(time, share))
            .collect();
        picture.curve(&points, init);
    }
    picture.done()
}

/// Reaping and stopping by the number of processes.
pub fn scale(machine: &Machine, inits: &[Init], rows: &[Row]) -> String {
    let mut picture =
        Picture::new(470.0, "Reaping and stopping with more and more processes", machine);
    let shown: Vec<(usize, &Init)> = inits
        .iter()
        .enumerate()
        .filter(|(_, init)| init.path.is_some() && !init.is_noise_check)
        .collect();
    picture.legend(&shown.iter().map(|(_, init)| *init).collect::<Vec<_>>());
    let panels = [
        ("scale-reap-", "CPU of the init for an orphan, us", 66.0, 450.0),
        ("scale-stop-", "time from SIGTERM to the init's end, ms", 526.0, 895.0),
    ];
    for (prefix, title, left, right) in panels {
        let (top, bottom) = (HEAD + 34.0, 400.0);
        let rows: Vec<(f64, &Row)> = rows
            .iter()
            .filter_map(|row| Some((row.key.strip_prefix(prefix)?.parse().ok()?, row)))
            .collect();
        let figures =
            rows.iter().flat_map(|(_, row)| shown.iter().filter_map(|(i, _)| row.middle(*i)));
        let across = Axis::around(rows.iter().map(|(count, _)| *count), left, right);
        let up = Axis::around(figures, bottom, top);
        picture.words(left, HEAD + 18.0, "start", TEXT, title);
        for tick in up.decades() {
            let y = up.at(tick);
            picture.line((left, y), (right, y), GRID, "");
            picture.words(left - 8.0, y + 4.5, "end", FAINT, &show(tick));
        }
        for (count, _) in &rows {
            let x = across.at(*count);
            picture.line((x, bottom), (x, bottom + 5.0), FAINT, "");
            picture.words(x, bottom + 22.0, "middle", FAINT, &format!("{count}"));
        }
        picture.words((left + right) / 2.0, bottom + 46.0, "middle", FAINT, "processes");
        for (i, init) in shown.iter().rev() {
            let points: Vec<(f64, f64)> = rows
                .iter()
                .filter_map(|(count, row)| Some((across.at(*count), up.at(row.middle(*i)?))))
                .collect();
            picture.curve(&points, init);
            for point in points {
                let radius = if *i == CLAWINIT { 6.0 } else { 4.5 };
                picture.dot(point, radius, colour(init.name), false);
            }
        }
    }
    picture.done()
}
