//! Curves as SVG: detection, convergence after a partition, load against N and against loss.

use std::ops::Range;

use plotters::prelude::{
    BLACK, ChartBuilder, Color, IntoDrawingArea, IntoLogRange, LineSeries, PathElement, RGBColor,
    SVGBackend, WHITE,
};

use crate::outcome::rounded;
use crate::plan::Contender;
use crate::report::Entry;
use crate::suite::cell::Row;

const SIZE: (u32, u32) = (800, 480);
/// Told apart by people who see colours differently (Okabe and Ito 2008).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// A named line.
type Line = (String, Vec<(f64, f64)>);

/// A plot before it is drawn.
struct Plot {
    title: &'static str,
    x: &'static str,
    y: &'static str,
    log: bool,
    lines: Vec<Line>,
}

/// The files of all plots.
pub(super) const NAMES: [&str; 4] = ["detection.svg", "convergence.svg", "load.svg", "loss.svg"];

/// Every plot with its file's name. A report without a row has no line of it; the file stands all the
/// same, and is empty.
pub(super) fn all(entries: &[&Entry]) -> Vec<(&'static str, String)> {
    let plots = [detection(entries), convergence(entries), load(entries), loss(entries)];
    NAMES.into_iter().zip(plots).map(|(name, plot)| (name, plot.draw())).collect()
}

/// The same line with fewer points: those are left out that stand between two of the same height.
pub(super) fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let same = |other: Option<&(f64, f64)>, height: f64| other.is_some_and(|it| it.1 == height);
    let needless = |at: usize, height: f64| {
        at > 0 && same(points.get(at - 1), height) && same(points.get(at + 1), height)
    };
    let kept = points.iter().enumerate().filter(|(at, point)| !needless(*at, point.1));
    kept.map(|(_, point)| (rounded(point.0), rounded(point.1))).collect()
}

/// A line for each cell of a row: the largest cells say most; seven lines can be told apart.
fn by_cell(entries: &[&Entry], row: Row) -> Vec<Line> {
    let cells = entries.iter().rev().filter(|entry| entry.row == row.name());
    let named =
        |entry: &&Entry| (format!("{}, {}", entry.detector, entry.cell), entry.curve.clone());
    cells.map(named).take(COLOURS.len()).collect()
}

/// Share of the pairs (killed member, live observer) that were informed.
fn detection(entries: &[&Entry]) -> Plot {
    Plot {
        title: "Detection: who knows of a crash",
        x: "seconds after the crash",
        y: "share of (crash, observer) pairs",
        log: false,
        lines: by_cell(entries, Row::H2),
    }
}

/// Share of the nodes that hold one view of all, from the heal on.
fn convergence(entries: &[&Entry]) -> Plot {
    Plot {
        title: "Convergence after a partition",
        x: "seconds after the heal",
        y: "share of nodes that agree on all",
        log: false,
        lines: by_cell(entries, Row::H11),
    }
}

fn by_detector(entries: &[&Entry], row: Row, x: impl Fn(&Entry) -> Option<f64>) -> Vec<Line> {
    let of = |contender: Contender| {
        let name = contender.name();
        let cells =
            entries.iter().filter(|entry| (&*entry.row, &*entry.detector) == (row.name(), name));
        let point = |entry: &&Entry| Some((x(entry)?, entry.outcome.bytes_per_node_s));
        let mut points: Vec<(f64, f64)> = cells.filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        (name.to_string(), points)
    };
    let lines = Contender::ALL.into_iter().map(of);
    lines.filter(|(_, points)| !points.is_empty()).collect()
}

fn load(entries: &[&Entry]) -> Plot {
    Plot {
        title: "Load against the number of nodes, no faults",
        x: "nodes",
        y: "bytes a node and second",
        log: true,
        lines: by_detector(entries, Row::H1, |entry| Some(entry.outcome.nodes as f64)),
    }
}

fn loss(entries: &[&Entry]) -> Plot {
    let at_a_thousand = |entry: &Entry| {
        let outcome = &entry.outcome;
        (outcome.nodes == 1_000 && outcome.crash == 0).then_some(outcome.loss * 100.0)
    };
    Plot {
        title: "Load against loss, 1,000 nodes",
        x: "loss in %",
        y: "bytes a node and second",
        log: false,
        lines: by_detector(entries, Row::H6, at_a_thousand),
    }
}

impl Plot {
    fn span(&self, pick: impl Fn(&(f64, f64)) -> f64) -> Range<f64> {
        let values = self.lines.iter().flat_map(|(_, points)| points).map(pick);
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low < high { low..high } else { 0.0..1.0 }
    }

    fn draw(&self) -> String {
        let mut svg = String::new();
        // Drawing into memory cannot fail; an empty picture would say so.
        let drawn = if self.log { self.draw_log(&mut svg) } else { self.draw_linear(&mut svg) };
        drawn.map_or_else(|error| format!("<!-- {error} -->"), |()| svg)
    }

    fn draw_linear(&self, svg: &mut String) -> Result<(), String> {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(|error| error.to_string())?;
        let top = self.span(|point| point.1).end;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(self.span(|point| point.0), 0.0..top * 1.05)
            .map_err(|error| error.to_string())?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(self.x).y_desc(self.y).light_line_style(WHITE);
        mesh.draw().map_err(|error| error.to_string())?;
        for ((name, points), colour) in self.lines.iter().zip(COLOURS) {
            let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
            chart.draw_series(line).map_err(|error| error.to_string())?.label(name).legend(
                move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)),
            );
        }
        let mut legend = chart.configure_series_labels();
        legend.background_style(WHITE).border_style(BLACK);
        legend.draw().map_err(|error| error.to_string())?;
        root.present().map_err(|error| error.to_string())
    }

    fn draw_log(&self, svg: &mut String) -> Result<(), String> {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(|error| error.to_string())?;
        let (x, top) = (self.span(|point| point.0), self.span(|point| point.1).end);
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d((x.start.max(1.0)..x.end.max(2.0)).log_scale(), 0.0..top * 1.05)
            .map_err(|error| error.to_string())?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(self.x).y_desc(self.y).light_line_style(WHITE);
        mesh.draw().map_err(|error| error.to_string())?;
        for ((name, points), colour) in self.lines.iter().zip(COLOURS) {
            let line =
                LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3);
            chart.draw_series(line).map_err(|error| error.to_string())?.label(name).legend(
                move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)),
            );
        }
        let mut legend = chart.configure_series_labels();
        legend.background_style(WHITE).border_style(BLACK);
        legend.draw().map_err(|error| error.to_string())?;
        root.present().map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinned_line_keeps_its_ends_and_its_steps() {
        let line = [(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (3.0, 1.0), (4.0, 1.0), (5.0, 1.0)];
        assert_eq!(thinned(&line), [line[0], line[2], line[3], line[5]]);
        assert_eq!(thinned(&line[..2]), line[..2]);
        assert_eq!(thinned(&[]), []);
    }
}
