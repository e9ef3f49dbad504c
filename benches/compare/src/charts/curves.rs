//! Curves: lines over two logarithmic axes.

use super::{Area, DrawingResult, HEADING, WIDTH, heading, text};
use crate::Result;
use crate::curves::{Axis, Curve, Kind, Line};
use crate::machine::Machine;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;
use std::path::Path;

/// Height of what is drawn on, and of a line of the legend.
const PLOT: u32 = 400;
const LEGEND: u32 = 20;
/// Left of the plot and below it, for the ticks and what they mean.
const LEFT: u32 = 92;
const BELOW: u32 = 62;

/// Ours are warm and thick.
const OURS: [RGBColor; 4] =
    [RGBColor(204, 51, 17), RGBColor(238, 119, 51), RGBColor(170, 20, 90), RGBColor(230, 159, 0)];
const PEERS: [RGBColor; 5] = [
    RGBColor(0, 119, 187),
    RGBColor(0, 153, 136),
    RGBColor(102, 77, 170),
    RGBColor(85, 160, 220),
    RGBColor(110, 110, 40),
];
const LIMIT: RGBColor = RGBColor(120, 120, 120);

/// Draws one curve, with what its lines are below.
pub fn draw(path: &Path, machine: &Machine, curve: &Curve) -> Result<()> {
    let legend = LEGEND * (curve.lines.len() + curve.missing.len()) as u32;
    let height = HEADING + PLOT + BELOW + legend + 12;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    heading(&root, curve.title, machine)?;
    let place = Place::of(curve);
    axes(&root, curve, &place)?;
    let (mut ours, mut peers) = (OURS.iter().cycle(), PEERS.iter().cycle());
    let mut y = (HEADING + PLOT + BELOW) as i32;
    for line in &curve.lines {
        let color = match line.kind {
            Kind::Ours => ours.next(),
            Kind::Peer => peers.next(),
            Kind::Limit => None,
        };
        let style = Style { color: *color.unwrap_or(&LIMIT), ours: line.kind == Kind::Ours };
        draw_line(&root, line, &place, style)?;
        let swatch = [(LEFT as i32, y + 8), (LEFT as i32 + 28, y + 8)];
        root.draw(&PathElement::new(swatch, style.stroke()))?;
        root.draw(&Text::new(line.name.clone(), (LEFT as i32 + 38, y), text(14)))?;
        y += LEGEND as i32;
    }
    for missing in &curve.missing {
        root.draw(&Text::new(format!("missing: {missing}"), (LEFT as i32 + 38, y), text(12)))?;
        y += LEGEND as i32;
    }
    root.present()?;
    Ok(())
}

#[derive(Clone, Copy)]
struct Style {
    color: RGBColor,
    ours: bool,
}

impl Style {
    fn stroke(self) -> ShapeStyle {
        self.color.stroke_width(if self.ours { 3 } else { 2 })
    }
}

fn draw_line<'a>(root: &Area<'a>, line: &Line, place: &Place, style: Style) -> DrawingResult<'a> {
    let points: Vec<(i32, i32)> = line.points.iter().map(|&point| place.at(point)).collect();
    root.draw(&PathElement::new(points.clone(), style.stroke()))?;
    let dense = points.len() > 24;
    for point in points.into_iter().filter(|_| !dense) {
        root.draw(&Circle::new(point, if style.ours { 4 } else { 3 }, style.color.filled()))?;
    }
    Ok(())
}

/// A grid at the ticks, their names, and what the axes are.
fn axes<'a>(root: &Area<'a>, curve: &Curve, place: &Place) -> DrawingResult<'a> {
    let (left, right) = (place.left(), place.right());
    let (top, bottom) = (place.top(), place.bottom());
    let grid = BLACK.mix(0.13).stroke_width(1);
    let below = text(13).pos(Pos::new(HPos::Center, VPos::Top));
    for (value, name) in within(&curve.x, &place.x) {
        let (x, _) = place.at((*value, place.y.start));
        root.draw(&PathElement::new([(x, top), (x, bottom)], grid))?;
        root.draw(&Text::new(name.clone(), (x, bottom + 7), below.clone()))?;
    }
    let beside = text(13).pos(Pos::new(HPos::Right, VPos::Center));
    for (value, name) in within(&curve.y, &place.y) {
        let (_, y) = place.at((place.x.start, *value));
        root.draw(&PathElement::new([(left, y), (right, y)], grid))?;
        root.draw(&Text::new(name.clone(), (left - 8, y), beside.clone()))?;
    }
    let frame = [(left, top), (left, bottom), (right, bottom)];
    root.draw(&PathElement::new(frame, BLACK.stroke_width(1)))?;
    let middle = ((left + right) / 2, (top + bottom) / 2);
    root.draw(&Text::new(curve.x.label, (middle.0, bottom + 30), below.clone()))?;
    let upwards =
        text(13).transform(FontTransform::Rotate270).pos(Pos::new(HPos::Center, VPos::Top));
    root.draw(&Text::new(curve.y.label, (8, middle.1), upwards))
}

fn within<'a>(axis: &'a Axis, range: &'a Range<f64>) -> impl Iterator<Item = &'a (f64, String)> {
    axis.ticks.iter().filter(|(value, _)| *value >= range.start && *value <= range.end)
}

/// What the axes reach over, in logarithms taken as they are drawn.
struct Place {
    x: Range<f64>,
    y: Range<f64>,
}

impl Place {
    fn of(curve: &Curve) -> Self {
        let points = || curve.lines.iter().flat_map(|line| &line.points);
        Self { x: reach(points().map(|point| point.0)), y: reach(points().map(|point| point.1)) }
    }

    fn left(&self) -> i32 {
        LEFT as i32
    }

    fn right(&self) -> i32 {
        WIDTH as i32 - 24
    }

    fn top(&self) -> i32 {
        HEADING as i32
    }

    fn bottom(&self) -> i32 {
        (HEADING + PLOT) as i32
    }

    fn at(&self, (x, y): (f64, f64)) -> (i32, i32) {
        let part = |value: f64, range: &Range<f64>| {
            (value / range.start).ln() / (range.end / range.start).ln()
        };
        let across = part(x, &self.x) * f64::from(self.right() - self.left());
        let up = part(y, &self.y) * f64::from(self.bottom() - self.top());
        (self.left() + across.round() as i32, self.bottom() - up.round() as i32)
    }
}

/// From a little below the least value to a little above the largest one.
fn reach(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values
        .filter(|value| value.is_finite() && *value > 0.0)
        .fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return 1.0..10.0;
    }
    let margin = (high / low).powf(0.04).max(1.05);
    low / margin..high * margin
}
