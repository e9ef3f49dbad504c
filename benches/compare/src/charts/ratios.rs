//! The ratios as a picture.

use super::{HEADING, WIDTH, heading, text};
use crate::Result;
use crate::machine::Machine;
use crate::measure::Outcome;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::path::Path;

/// Height of a row's strip.
const STRIP: u32 = 34;
const BETTER: RGBColor = RGBColor(46, 125, 80);
const WORSE: RGBColor = RGBColor(178, 60, 48);

/// A bar from 1 to each row's ratio, on a logarithmic scale, with the 10th to 90th percentile and the target.
pub fn draw(path: &Path, machine: &Machine, rows: &[Outcome]) -> Result<()> {
    // Room for the labels, and for 1 itself.
    let (mut low, mut high) = (0.5_f64, 2.0_f64);
    for row in rows {
        let shown = row
            .against
            .as_ref()
            .map_or([row.target; 3], |against| [against.p10, against.p90, row.target]);
        low = shown.iter().fold(low, |low, value| low.min(value / 1.5));
        high = shown.iter().fold(high, |high, value| high.max(value * 2.5));
    }
    let height = 128 + STRIP * rows.len().max(1) as u32;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    heading(&root, "Ratio to the peer (above 1: mpshm is better)", machine)?;
    let legend = "bar: median · black line: 10th to 90th percentile · blue mark: target";
    root.draw(&Text::new(legend, (16, HEADING as i32 - 8), text(12)))?;
    let mut chart = ChartBuilder::on(&root)
        .margin_top(HEADING + 14)
        .margin_right(16)
        .set_label_area_size(LabelAreaPosition::Bottom, 30)
        .set_label_area_size(LabelAreaPosition::Left, 250)
        .build_cartesian_2d((low..high).log_scale(), rows.len().max(1) as f64..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(BLACK.mix(0.05))
        .x_label_formatter(&|value| format!("{value}"))
        .draw()?;
    let plain = text(13);
    for (index, row) in rows.iter().enumerate() {
        let middle = index as f64 + 0.5;
        let line = |from: (f64, f64), to: (f64, f64), color: RGBAColor, width| {
            PathElement::new(
                vec![from, to],
                ShapeStyle { color, filled: false, stroke_width: width },
            )
        };
        let (_, y) = chart.backend_coord(&(1.0, middle));
        let named = plain.pos(Pos::new(HPos::Right, VPos::Center));
        root.draw(&Text::new(row.id, (256, y), named))?;
        let label = plain.pos(Pos::new(HPos::Left, VPos::Center));
        let target = (row.target, middle);
        match &row.against {
            Ok(against) => {
                let color = if against.ratio >= 1.0 { BETTER } else { WORSE };
                let bar = [(1.0, middle - 0.3), (against.ratio, middle + 0.3)];
                chart.draw_series([Rectangle::new(bar, color.mix(0.75).filled())])?;
                let spread = line((against.p10, middle), (against.p90, middle), BLACK.into(), 2);
                chart.draw_series([spread])?;
                let end = against.p90.max(against.ratio).max(row.target) * 1.06;
                let text = format!("{:.2}", against.ratio);
                chart.draw_series([Text::new(text, (end, middle), label)])?;
            }
            Err(_) => {
                let text = format!("{}: missing", row.peer_name);
                chart.draw_series([Text::new(text, (1.06, middle), label)])?;
            }
        }
        let (above, below) = ((target.0, middle - 0.42), (target.0, middle + 0.42));
        chart.draw_series([line(above, below, BLUE.mix(0.8), 2)])?;
    }
    let bottom = rows.len().max(1) as f64;
    let one = [(1.0, 0.0), (1.0, bottom)];
    chart.draw_series([PathElement::new(one, BLACK.stroke_width(1))])?;
    root.present()?;
    Ok(())
}
