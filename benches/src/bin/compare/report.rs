//! What people read: a table, a picture, goals; and spreads for machines.

use std::collections::BTreeMap;
use std::{fmt, io};

use plotters::prelude::{
    BLACK, ChartBuilder, Color, IntoDrawingArea, PathElement, RGBColor, Rectangle, SVGBackend,
    WHITE,
};
use serde_json::{Value, json};

use crate::turns::{Found, Spread};

const SIZE: (u32, u32) = (900, 480);
/// Told apart by people who see colours differently (Okabe and Ito 2008).
const COLOURS: [RGBColor; 10] = [
    RGBColor(0, 0, 0),
    RGBColor(102, 102, 102),
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(0, 114, 178),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(240, 228, 66),
    RGBColor(153, 153, 153),
];

/// `median (min to max)`.
pub(crate) fn number(spread: Spread, digits: usize) -> String {
    let Spread { min, median, max } = spread;
    format!("{median:.digits$} ({min:.digits$} to {max:.digits$})")
}

/// For machines.
pub(crate) fn spread_json(spread: Spread) -> Value {
    let rounded = |value: f64| (value * 1_000.0).round() / 1_000.0;
    json!({
        "min": rounded(spread.min),
        "median": rounded(spread.median),
        "max": rounded(spread.max),
    })
}

/// A row for each alternative.
pub(crate) struct Table<'a> {
    title: &'a str,
    unit: &'a str,
    found: &'a Found,
    references: [&'a str; 2],
}

impl<'a> Table<'a> {
    pub(crate) fn new(
        title: &'a str,
        unit: &'a str,
        found: &'a Found,
        references: [&'a str; 2],
    ) -> Self {
        Self { title, unit, found, references }
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.references.map(|name| format!("x {name}"));
        let (title, unit) = (self.title, self.unit);
        writeln!(f, "{title}")?;
        writeln!(f, "  {:<22}{:>12}{unit:>14}{first:>24}{second:>24}", "", "ns each")?;
        for name in self.found.names() {
            let ns = self.found.ns(name).median;
            let [first, second] =
                self.references.map(|other| number(self.found.ratio(name, other), 2));
            let rate = 1e9 / ns;
            writeln!(f, "  {name:<22}{ns:>12.0}{rate:>14.0}{first:>24}{second:>24}")?;
        }
        Ok(())
    }
}

/// A goal and what was reached.
pub(crate) struct Goal {
    pub(crate) what: &'static str,
    pub(crate) size: usize,
    pub(crate) wanted: f64,
    pub(crate) reached: Spread,
    /// What raw calls reach that seal and do nothing else of ours, where they are what is aimed at.
    pub(crate) most: Option<Spread>,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, size, wanted, reached, most } = self;
        let met = if reached.median >= *wanted { "met" } else { "NOT met" };
        let reached = number(*reached, 2);
        write!(f, "goal {met}: {what} at {size} bytes: {reached}, wanted {wanted}")?;
        match most {
            Some(most) => write!(f, "; raw calls that seal: {}", number(*most, 2)),
            None => Ok(()),
        }
    }
}

/// Bars: a group for each size, a colour for each alternative.
pub(crate) struct Picture {
    title: String,
    names: Vec<&'static str>,
    groups: Vec<(String, Vec<Spread>)>,
}

impl Picture {
    pub(crate) fn of(title: &str, found: &BTreeMap<usize, Found>) -> Self {
        let names = found.values().next().map_or_else(Vec::new, |found| found.names().to_vec());
        let rates = |found: &Found| {
            let rate = |ns: f64| 1e6 / ns;
            let spread = |name: &&'static str| {
                let ns = found.ns(name);
                Spread { min: rate(ns.max), median: rate(ns.median), max: rate(ns.min) }
            };
            names.iter().map(spread).collect()
        };
        let groups = found.iter().map(|(size, found)| (format!("{size} bytes"), rates(found)));
        Self { title: title.to_string(), groups: groups.collect(), names }
    }

    /// As SVG.
    ///
    /// # Errors
    /// What could not be drawn: no file is written then, and the command fails.
    pub(crate) fn draw(&self) -> io::Result<String> {
        let mut svg = String::new();
        self.draw_on(&mut svg).map_err(io::Error::other)?;
        Ok(svg)
    }

    fn draw_on(&self, svg: &mut String) -> Result<(), String> {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(|error| error.to_string())?;
        let all = self.groups.iter().flat_map(|(_, rates)| rates);
        let top = all.fold(0.0, |top: f64, rate| top.max(rate.max));
        let wide = self.names.len() as f64 + 1.0;
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            // The legend stands right of the bars.
            .build_cartesian_2d(0.0..wide * (self.groups.len() as f64 + 0.9), 0.0..top * 1.05)
            .map_err(|error| error.to_string())?;
        let labels: Vec<_> = self.groups.iter().map(|(label, _)| label.as_str()).collect();
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().x_labels(0).light_line_style(WHITE);
        mesh.x_desc(labels.join(", then ")).y_desc("thousand datagrams a second");
        mesh.draw().map_err(|error| error.to_string())?;
        for (place, (name, colour)) in self.names.iter().zip(COLOURS).enumerate() {
            let left = |group: usize| wide * group as f64 + place as f64 + 0.5;
            let bars = self.groups.iter().enumerate().map(|(group, (_, rates))| {
                let corners = [(left(group), 0.0), (left(group) + 0.9, rates[place].median)];
                Rectangle::new(corners, colour.filled())
            });
            chart.draw_series(bars).map_err(|error| error.to_string())?.label(*name).legend(
                move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(6)),
            );
            let spreads = self.groups.iter().enumerate().map(|(group, (_, rates))| {
                let middle = left(group) + 0.45;
                PathElement::new([(middle, rates[place].min), (middle, rates[place].max)], BLACK)
            });
            chart.draw_series(spreads).map_err(|error| error.to_string())?;
        }
        let mut legend = chart.configure_series_labels();
        legend.background_style(WHITE).border_style(BLACK);
        legend.draw().map_err(|error| error.to_string())?;
        drop(chart);
        root.present().map_err(|error| error.to_string())
    }
}
