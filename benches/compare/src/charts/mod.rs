//! Pictures of the results, each with the machine that they were taken on.

pub mod curves;
pub mod ratios;

use crate::machine::Machine;
use plotters::coord::Shift;
use plotters::prelude::*;

const WIDTH: u32 = 900;
/// Below what `heading` writes.
const HEADING: u32 = 66;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawingResult<'a> =
    std::result::Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// The title, and where and when it was.
fn heading<'a>(root: &Area<'a>, title: &str, machine: &Machine) -> DrawingResult<'a> {
    root.fill(&WHITE)?;
    root.draw(&Text::new(title.to_string(), (16, 12), text(20)))?;
    root.draw(&Text::new(machine.to_string(), (16, 40), text(12)))
}

fn text(size: u32) -> TextStyle<'static> {
    let color = if size < 13 { RGBColor(80, 80, 80) } else { BLACK };
    TextStyle { color: color.to_backend_color(), ..TextStyle::from(("sans-serif", size)) }
}
