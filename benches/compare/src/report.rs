//! The table on the terminal, and the file for programs.

use crate::curves::{Curve, Line};
use crate::machine::Machine;
use crate::measure::Outcome;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

/// The rows as a table. Losses stand in it like wins.
pub fn table(rows: &[Outcome]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header([
        "row", "unit", "ours", "peer", "ratio", "p10", "p90", "target", "", "peer is",
    ]);
    for row in rows {
        let number = |value: f64| format!("{:.*}", decimals(value), value);
        let start = [row.id.to_string(), row.unit.to_string(), number(row.ours)];
        let (rest, peer_name) = match &row.against {
            Ok(against) => {
                let verdict = if against.ratio >= row.target { "reached" } else { "below" };
                let figures = [against.peer, against.ratio, against.p10, against.p90, row.target];
                let mut cells = figures.map(number).to_vec();
                cells.push(verdict.into());
                (cells, row.peer_name.to_string())
            }
            Err(reason) => {
                let mut cells = vec!["missing".to_string()];
                cells.extend(["", "", ""].map(String::from));
                cells.extend([number(row.target), "missing".into()]);
                (cells, format!("{} ({reason})", row.peer_name))
            }
        };
        table.add_row(start.into_iter().chain(rest).chain([peer_name]));
    }
    for column in 2..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// The machine, the rows, and the curves if there are any; a missing peer's figures are null.
pub fn json(machine: &Machine, rows: &[Outcome], curves: &[Curve]) -> String {
    let row = |row: &Outcome| {
        let figure = |of: fn(&crate::measure::Against) -> f64| {
            row.against.as_ref().map_or(Value::Null, |against| json!(of(against)))
        };
        json!({
            "id": row.id,
            "unit": row.unit,
            "ours": row.ours,
            "peer": figure(|against| against.peer),
            "peer_name": row.peer_name,
            "ratio": figure(|against| against.ratio),
            "p10": figure(|against| against.p10),
            "p90": figure(|against| against.p90),
            "target": row.target,
            "missing": row.against.as_ref().err(),
        })
    };
    let curve = |curve: &Curve| {
        let line = |line: &Line| json!({ "name": line.name, "points": line.points });
        json!({
            "id": curve.id,
            "x": curve.x.label,
            "y": curve.y.label,
            "lines": curve.lines.iter().map(line).collect::<Vec<_>>(),
        })
    };
    let mut report = json!({
        "machine": {
            "cpu": machine.cpu,
            "cores": machine.cores,
            "kernel": machine.kernel,
            "rustc": machine.rustc,
            "date": machine.date,
        },
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    });
    if !curves.is_empty() {
        report["curves"] = curves.iter().map(curve).collect();
    }
    format!("{report:#}\n")
}

/// Three digits that count.
fn decimals(value: f64) -> usize {
    match value.abs() {
        0.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    }
}
