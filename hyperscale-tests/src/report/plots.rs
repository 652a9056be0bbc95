//! Curves as SVG: detection, convergence after a partition, load against N and against loss.

use std::collections::BTreeMap;
use std::ops::Range;

use plotters::prelude::{
    BLACK, ChartBuilder, Color, IntoDrawingArea, IntoLogRange, LineSeries, PathElement, RGBColor,
    SVGBackend, WHITE,
};

use crate::measure::Curve;
use crate::plan::Contender;
use crate::suite::cell::{Row, Shown};

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

/// Every plot for which there is something to draw, with its file's name.
pub(super) fn all(shown: &[Shown]) -> Vec<(&'static str, String)> {
    let plots = [
        ("detection.svg", detection(shown)),
        ("convergence.svg", convergence(shown)),
        ("load.svg", load(shown)),
        ("loss.svg", loss(shown)),
    ];
    // A report without a row has no line of it; the file stands all the same, and is empty.
    plots.into_iter().map(|(name, plot)| (name, plot.draw())).collect()
}

/// Share of the pairs (killed member, live observer) that were informed.
fn detection(shown: &[Shown]) -> Plot {
    let mut lines = Vec::new();
    for shown in shown.iter().filter(|shown| shown.cell.row == Row::H2) {
        let curve: &Curve = &shown.run.found.curve;
        let name = format!("{}, {}", shown.run.plan.detector.name(), shown.cell.label);
        lines.push((name, curve.points()));
    }
    // The largest cells say most; seven lines can be told apart.
    lines.reverse();
    lines.truncate(COLOURS.len());
    Plot {
        title: "Detection: who knows of a crash",
        x: "seconds after the crash",
        y: "share of (crash, observer) pairs",
        log: false,
        lines,
    }
}

/// Share of the nodes that hold one view of all, from the heal on.
fn convergence(shown: &[Shown]) -> Plot {
    let cells = shown.iter().filter(|shown| shown.cell.row == Row::H11);
    let named = |shown: &Shown| {
        let name = format!("{}, {}", shown.run.plan.detector.name(), shown.cell.label);
        (name, shown.run.agreement.clone())
    };
    let mut lines: Vec<Line> = cells.map(named).collect();
    lines.reverse();
    lines.truncate(COLOURS.len());
    Plot {
        title: "Convergence after a partition",
        x: "seconds after the heal",
        y: "share of nodes that agree on all",
        log: false,
        lines,
    }
}

fn by_detector(shown: &[Shown], row: Row, x: impl Fn(&Shown) -> Option<f64>) -> Vec<Line> {
    let mut lines: BTreeMap<Contender, Vec<(f64, f64)>> = BTreeMap::new();
    for shown in shown.iter().filter(|shown| shown.cell.row == row) {
        if let Some(x) = x(shown) {
            let load = shown.run.per_node_s(shown.run.load.bytes);
            lines.entry(shown.run.plan.detector).or_default().push((x, load));
        }
    }
    lines
        .into_iter()
        .map(|(contender, mut points)| {
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            (contender.name().to_string(), points)
        })
        .collect()
}

fn load(shown: &[Shown]) -> Plot {
    Plot {
        title: "Load against the number of nodes, no faults",
        x: "nodes",
        y: "bytes a node and second",
        log: true,
        lines: by_detector(shown, Row::H1, |shown| Some(shown.run.plan.nodes as f64)),
    }
}

fn loss(shown: &[Shown]) -> Plot {
    let at_a_thousand = |shown: &Shown| {
        let plan = &shown.run.plan;
        (plan.nodes == 1_000 && plan.crashes() == 0).then_some(plan.loss * 100.0)
    };
    Plot {
        title: "Load against loss, 1,000 nodes",
        x: "loss in %",
        y: "bytes a node and second",
        log: false,
        lines: by_detector(shown, Row::H6, at_a_thousand),
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
