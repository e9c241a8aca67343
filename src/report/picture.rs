//! The graph as SVG: boxes that are links to their rows, coloured by error, by time, or by how they compute.

use super::bands::{of_error, of_time};
use super::data::{Computes, Data, Node, shown};
use super::graph::{Sizes, layout};
use super::html::{decibels, escape, tail};
use crate::numbers;
use std::fmt::Write;

const SIZES: Sizes = Sizes { width: 204.0, height: 44.0, beside: 22.0, below: 26.0, margin: 16.0 };

/// Characters of a name in a box.
const LETTERS: usize = 28;

/// The picture; empty if there are no nodes.
pub fn svg(data: &Data) -> String {
    if data.nodes.is_empty() {
        return String::new();
    }
    let (inputs, nodes) = (data.inputs.len(), data.nodes.len());
    let behind = inputs + nodes;
    let entering = data.inputs.iter().enumerate().flat_map(|(i, end)| end.nodes.iter().map(move |n| (i, inputs + n)));
    let between = data.edges.iter().map(|(a, b)| (inputs + a, inputs + b));
    let leaving =
        data.outputs.iter().enumerate().flat_map(|(i, end)| end.nodes.iter().map(move |n| (inputs + n, behind + i)));
    let edges: Vec<(usize, usize)> = entering.chain(between).chain(leaving).collect();
    let picture = layout(behind + data.outputs.len(), &edges, SIZES);
    let (width, height) = (picture.width, picture.height);
    let mut out = format!(
        "<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"group\" \
         aria-label=\"{} from inputs at the top to outputs at the bottom\">\n\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path class=\"tip\" d=\"M0 0L8 4L0 8z\"/></marker></defs>\n<g aria-hidden=\"true\">\n",
        numbers::counted(nodes, "operator")
    );
    for way in &picture.edges {
        let _ = writeln!(out, "<path class=\"wire\" marker-end=\"url(#tip)\" d=\"{}\"/>", curve(way));
    }
    out.push_str("</g>\n");
    for (at, end) in data.inputs.iter().chain(&data.outputs).enumerate() {
        let (kind, place) = if at < inputs { ("input", at) } else { ("output", nodes + at) };
        let (x, y) = corner(picture.boxes[place]);
        let _ = writeln!(
            out,
            "<g class=\"end\"><title>{kind} {}: {}</title><rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{}\" \
             height=\"{}\" rx=\"22\"/><text x=\"{}\" y=\"{}\">{kind}</text><text class=\"sub\" x=\"{}\" y=\"{}\">{}</text></g>",
            escape(&end.name),
            escape(&end.ty),
            SIZES.width,
            SIZES.height,
            x + 16.0,
            y + 18.0,
            x + 16.0,
            y + 34.0,
            escape(&tail(&end.name, LETTERS - 2))
        );
    }
    for (at, node) in data.nodes.iter().enumerate() {
        boxed(&mut out, data, at, node, corner(picture.boxes[inputs + at]));
    }
    out.push_str("</svg>\n");
    out
}

fn corner((x, y): (f64, f64)) -> (f64, f64) {
    (x - SIZES.width / 2.0, y - SIZES.height / 2.0)
}

/// Down from point to point.
fn curve(points: &[(f64, f64)]) -> String {
    let mut out = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        match i.checked_sub(1).map(|before| points[before]) {
            None => {
                let _ = write!(out, "M{x} {y}");
            }
            Some((before, _)) if before == *x => {
                let _ = write!(out, "V{y}");
            }
            Some((before, above)) => {
                let middle = (above + y) / 2.0;
                let _ = write!(out, "C{before} {middle} {x} {middle} {x} {y}");
            }
        }
    }
    out
}

/// How a node computes, as a class of the style and in words.
pub fn computes(node: &Node) -> (&'static str, &'static str) {
    match node.computes {
        Computes::Integers => ("integers", "integers"),
        Computes::Merged => ("merged", "merged"),
        Computes::Floats => ("floats", "float"),
    }
}

/// A box: what it is, what it measures, and its name.
fn boxed(out: &mut String, data: &Data, at: usize, node: &Node, (x, y): (f64, f64)) {
    let error = shown(node).map(|e| e.sqnr_db);
    let percent = node.step.map(|step| data.steps[step].time.percent);
    let (class, words) = computes(node);
    let mut classes = format!("node {class}");
    error.into_iter().for_each(|db| {
        let _ = write!(classes, " e{}", of_error(db));
    });
    percent.into_iter().for_each(|percent| {
        let _ = write!(classes, " t{}", of_time(percent));
    });
    let unit = |db: f64| if db.is_finite() { format!("{} dB", decibels(db)) } else { decibels(db) };
    let error_told = error.map(unit).unwrap_or_default();
    let time_told = percent.map(|p| format!("{} %", numbers::share(p))).unwrap_or_default();
    let mut said = format!("{} {}, {words}", node.op, node.name);
    if error.is_some() {
        let _ = write!(said, ", {error_told}");
    }
    if percent.is_some() {
        let _ = write!(said, ", {time_told} of the time");
    }
    let (right, upper, lower) = (x + SIZES.width - 10.0, y + 18.0, y + 34.0);
    let _ = writeln!(
        out,
        "<a class=\"{classes}\" id=\"g{at}\" href=\"#n{at}\" aria-label=\"{said}\"><title>{said}</title>\
         <rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"6\"/>\
         <text x=\"{}\" y=\"{upper}\">{}</text><text class=\"r e\" x=\"{right}\" y=\"{upper}\">{}</text>\
         <text class=\"r t\" x=\"{right}\" y=\"{upper}\">{}</text><text class=\"r k\" x=\"{right}\" y=\"{upper}\">{words}</text>\
         <text class=\"sub\" x=\"{}\" y=\"{lower}\">{}</text></a>",
        SIZES.width,
        SIZES.height,
        x + 10.0,
        escape(&tail(&node.op, 16)),
        escape(&error_told),
        escape(&time_told),
        x + 10.0,
        escape(&tail(&node.name, LETTERS)),
        said = escape(&said),
    );
}
