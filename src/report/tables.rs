//! The tables of the page. A column is a row of a static table here: its title, its number to sort by, and its text.

use super::charts::bar;
use super::data::{Computes, Data, Node};
use super::html::{decibels, escape, real};
use super::page::{GOOD_DB, card};
use super::picture::computes;
use crate::choices::Source;
use crate::numbers::{bytes, count, counted, share};
use std::fmt::Write;

/// A cell: what it is sorted by, unless it is its text, and what is shown, in HTML.
#[derive(Default)]
struct Cell {
    key: Option<f64>,
    html: String,
}

impl Cell {
    fn text(text: &str) -> Cell {
        Cell { key: None, html: escape(text) }
    }

    fn number(key: f64, html: String) -> Cell {
        // What has no end is behind all that has one, and what is no number is not known.
        let key = if key.is_finite() { Some(key) } else { (!key.is_nan()).then(|| f64::MAX.copysign(key)) };
        Cell { key, html }
    }
}

/// A column of the operators' table.
struct Column {
    title: &'static str,
    help: &'static str,
    numbers: bool,
    /// None where it has nothing to say of a node; a column that has nothing to say of all is left out.
    cell: fn(&Data, usize, &Node) -> Option<Cell>,
}

/// What is told of every operator, in this order.
static COLUMNS: [Column; 16] = [
    Column {
        title: "#",
        help: "Order in the graph, and a link to the box",
        numbers: true,
        cell: |_, at, _| {
            Some(Cell::number(at as f64, format!("<a href=\"#g{at}\" aria-label=\"{at}, show in the graph\">{at}</a>")))
        },
    },
    Column {
        title: "Node",
        help: "Name, as choices such as layer.\"NAME\" mean it",
        numbers: false,
        cell: |_, _, n| Some(Cell::text(&n.name)),
    },
    Column { title: "Operator", help: "What it computes", numbers: false, cell: |_, _, n| Some(Cell::text(&n.op)) },
    Column {
        title: "Computes",
        help: "On integers, on floats, or as a part of the operator before",
        numbers: false,
        cell: |_, _, n| Some(kind(n)),
    },
    Column {
        title: "Alone dB",
        help: "Signal to quantization noise of this operator alone, from the reference's inputs",
        numbers: true,
        cell: |_, _, n| n.alone.map(|e| error(e.sqnr_db)),
    },
    Column {
        title: "Together dB",
        help: "Signal to quantization noise with the errors of all before",
        numbers: true,
        cell: |_, _, n| n.together.map(|e| error(e.sqnr_db)),
    },
    Column {
        title: "Cosine",
        help: "Of the angle between reference and result",
        numbers: true,
        cell: |_, _, n| n.together.map(|e| Cell::number(e.cosine, format!("{:.5}", e.cosine))),
    },
    Column {
        title: "Max error",
        help: "Greatest difference of an element",
        numbers: true,
        cell: |_, _, n| n.together.map(|e| Cell::number(e.max_error, real(e.max_error))),
    },
    Column {
        title: "Steps off",
        help: "The same in steps of the integers",
        numbers: true,
        cell: |_, _, n| n.together.and_then(|e| e.max_steps).map(|s| Cell::number(s as f64, count(s))),
    },
    Column {
        title: "Time \u{b5}s",
        help: "Mean of a run; what runs in the step of another has none of its own",
        numbers: true,
        cell: |d, _, n| n.step.map(|s| Cell::number(d.steps[s].time.ms, format!("{:.1}", d.steps[s].time.ms * 1e3))),
    },
    Column {
        title: "Time %",
        help: "Share of all steps",
        numbers: true,
        cell: |d, _, n| n.step.map(|s| time(d, d.steps[s].time.percent)),
    },
    Column {
        title: "Stored as",
        help: "Integers of its result",
        numbers: false,
        cell: |_, _, n| n.stored.as_deref().map(Cell::text),
    },
    Column {
        title: "Sum bits",
        help: "Bits that hold every sum which any input can give",
        numbers: true,
        cell: |_, _, n| n.sum_bits.map(|b| Cell::number(f64::from(b), b.to_string())),
    },
    Column {
        title: "MACs",
        help: "Multiply-accumulates for a batch of one",
        numbers: true,
        cell: |_, _, n| (n.macs > 0).then(|| Cell::number(n.macs as f64, count(n.macs))),
    },
    Column {
        title: "Constants",
        help: "Bytes before and after",
        numbers: true,
        cell: |_, _, n| {
            (n.bytes_before > 0).then(|| {
                Cell::number(
                    n.bytes_before as f64,
                    format!("{} \u{2192} {}", bytes(n.bytes_before), bytes(n.bytes_after)),
                )
            })
        },
    },
    Column {
        title: "Rule",
        help: "What decided, and why it stays float",
        numbers: false,
        cell: |_, _, n| (n.rule.is_some() || n.reason.is_some()).then(|| rule(n)),
    },
];

fn kind(node: &Node) -> Cell {
    let (class, words) = computes(node);
    Cell {
        key: None,
        html: format!("<span class=\"tag {}\">{words}</span>", if class == "floats" { "float" } else { "" }),
    }
}

fn error(db: f64) -> Cell {
    Cell::number(db, format!("{}{}", decibels(db), bar(db / GOOD_DB, 60, "")))
}

fn time(data: &Data, percent: f64) -> Cell {
    let most = data.steps.iter().map(|s| s.time.percent).fold(0.0, f64::max);
    Cell::number(percent, format!("{}{}", share(percent), bar(percent / most, 60, "")))
}

fn rule(node: &Node) -> Cell {
    let (rule, reason) = (node.rule.as_deref().unwrap_or_default(), node.reason.as_deref().unwrap_or_default());
    let between = if rule.is_empty() || reason.is_empty() { "" } else { ": " };
    Cell::text(&format!("{rule}{between}{reason}"))
}

/// A title; its help is read with it.
fn title(out: &mut String, title: &str, help: &str, numbers: bool) {
    let class = if numbers { " class=\"num\"" } else { "" };
    let _ = write!(out, "<th scope=\"col\"{class} title=\"{}\">{title}</th>", escape(help));
}

fn cell(out: &mut String, cell: &Cell, numbers: bool, class: &str) {
    let key = match (cell.key, numbers) {
        (Some(key), _) => format!(" data-v=\"{key}\""),
        (None, true) => " data-v=\"\"".into(),
        (None, false) => String::new(),
    };
    let class = match (numbers, class) {
        (true, _) => " class=\"num\"".into(),
        (false, "") => String::new(),
        (false, class) => format!(" class=\"{class}\""),
    };
    let _ = write!(out, "<td{class}{key}>{}</td>", cell.html);
}

/// A field that filters a table, for scripts.
fn filter(id: &str, what: &str) -> String {
    format!(
        "<div class=\"tools\" data-script hidden><label>Only {what} with <input type=\"search\" data-filter=\"{id}\"></label> <span id=\"{id}-told\" role=\"status\" class=\"soft\"></span></div>\n"
    )
}

/// Every operator.
pub fn operators(data: &Data) -> String {
    if data.nodes.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<Option<Cell>>> =
        data.nodes.iter().enumerate().map(|(at, n)| COLUMNS.iter().map(|c| (c.cell)(data, at, n)).collect()).collect();
    let there: Vec<bool> = (0..COLUMNS.len()).map(|c| rows.iter().any(|row| row[c].is_some())).collect();
    let compared = data.compared.as_ref().map_or(String::new(), |c| {
        format!(" Errors are of {} of {}; a full bar is {GOOD_DB} dB.", counted(c.samples, "sample"), escape(&c.data))
    });
    let mut out = filter("layers", "rows");
    let _ = write!(
        out,
        "<div class=\"wide tall\" role=\"region\" tabindex=\"0\" aria-label=\"Table of operators\"><table id=\"layers\" data-sortable><caption>{} of the reference, in order.{compared}</caption>\n<thead><tr>",
        counted(data.nodes.len(), "operator")
    );
    let shown = || COLUMNS.iter().zip(&there).enumerate().filter(|(_, (_, there))| **there).map(|(i, (c, _))| (i, c));
    shown().for_each(|(_, c)| title(&mut out, c.title, c.help, c.numbers));
    out.push_str("</tr></thead>\n<tbody>\n");
    for (at, row) in rows.iter().enumerate() {
        let _ = write!(out, "<tr id=\"n{at}\">");
        for (i, column) in shown() {
            let class = if column.title == "Node" { "name" } else { "" };
            cell(&mut out, row[i].as_ref().unwrap_or(&Cell::default()), column.numbers, class);
        }
        out.push_str("</tr>\n");
    }
    out + "</tbody></table></div>\n"
}

/// What is not on integers.
pub fn left_float(data: &Data) -> String {
    if data.left_float.is_empty() {
        let quantized = data.nodes.iter().any(|n| n.computes != Computes::Floats);
        return if quantized {
            "<p>Nothing: every operator computes on integers, or moves them.</p>\n".into()
        } else {
            String::new()
        };
    }
    let place = |name: &str| data.nodes.iter().position(|n| n.name == name);
    let mut out = format!(
        "<div class=\"wide tall\" role=\"region\" tabindex=\"0\" aria-label=\"Table of what stays float\"><table data-sortable><caption>{} on floats, and why.</caption>\n<thead><tr><th scope=\"col\">Node</th><th scope=\"col\">Operator</th><th scope=\"col\">Work, %</th><th scope=\"col\">Rule</th><th scope=\"col\">Why</th></tr></thead>\n<tbody>\n",
        counted(data.left_float.len(), "operator")
    );
    for left in &data.left_float {
        let name = match place(&left.node) {
            Some(at) => format!("<a href=\"#n{at}\">{}</a>", escape(&left.node)),
            None => escape(&left.node),
        };
        let _ = writeln!(
            out,
            "<tr><td class=\"name\">{name}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&left.op),
            share(left.macs_percent),
            escape(&left.rule),
            escape(&left.reason)
        );
    }
    out + "</tbody></table></div>\n"
}

/// Every quantized value: its parameters in a table, what it holds in pictures.
pub fn values(data: &Data) -> String {
    if data.values.is_empty() {
        return String::new();
    }
    let mut out = filter("parameters", "values");
    let _ = write!(
        out,
        "<div class=\"wide tall\" role=\"region\" tabindex=\"0\" aria-label=\"Table of values\"><table id=\"parameters\" data-sortable><caption>{}, in order. Of several scales the greatest is told.</caption>\n<thead><tr>",
        counted(data.values.len(), "quantized value")
    );
    for (name, help, numbers) in [
        ("Value", "Name; a link to its histogram where there is one", false),
        ("Kind", "What it is for", false),
        ("Type", "How an element is stored", false),
        ("Scale", "Of a step; the greatest of several", true),
        ("Scales", "How many", true),
        ("Zero point", "The integer that stands for zero", true),
        ("Reaches from", "The least real that the integers reach", true),
        ("to", "The greatest", true),
        ("Seen from", "Least value seen, zero included", true),
        ("to", "Greatest value seen", true),
        ("Clipped %", "Share beyond the integers by more than half a step", true),
        ("Observer", "What found the range", false),
        ("Asked by", "The rule that wanted it", false),
        ("Scale chosen by", "Who chose the scale", false),
        ("Notes", "What else became of it", false),
    ] {
        title(&mut out, name, help, numbers);
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (at, value) in data.values.iter().enumerate() {
        let t = &value.parameters;
        let name = match &value.histogram {
            Some(_) => Cell { key: None, html: format!("<a href=\"#v{at}\">{}</a>", escape(&t.name)) },
            None => Cell::text(&t.name),
        };
        let number = |x: Option<f64>| x.map_or_else(Cell::default, |x| Cell::number(x, real(x)));
        let seen = t.seen.map(|(l, h)| (f64::from(l), f64::from(h)));
        let zero = t.zero_point.map(|(l, h)| match l == h {
            true => Cell::number(f64::from(l), l.to_string()),
            false => Cell::number(f64::from(l), format!("{l} to {h}")),
        });
        let text = |text: &Option<String>| Cell::text(text.as_deref().unwrap_or_default());
        out.push_str("<tr>");
        cell(&mut out, &name, false, "name");
        cell(&mut out, &text(&t.kind), false, "");
        cell(&mut out, &Cell::text(&t.dtype), false, "");
        cell(&mut out, &number(t.scale.as_ref().map(|s| f64::from(s.greatest))), true, "");
        let scales = t.scale.as_ref().map(|s| Cell::number(s.count as f64, count(s.count as u64)));
        cell(&mut out, &scales.unwrap_or_default(), true, "");
        cell(&mut out, &zero.unwrap_or_default(), true, "");
        cell(&mut out, &number(t.covers.map(|c| c.0)), true, "");
        cell(&mut out, &number(t.covers.map(|c| c.1)), true, "");
        cell(&mut out, &number(seen.map(|s| s.0)), true, "");
        cell(&mut out, &number(seen.map(|s| s.1)), true, "");
        let clipped = t.clipped_percent.map_or_else(Cell::default, |p| Cell::number(p, format!("{p:.3}")));
        cell(&mut out, &clipped, true, "");
        cell(&mut out, &text(&t.observer), false, "");
        cell(&mut out, &text(&t.rule), false, "");
        cell(&mut out, &Cell::text(&t.scale_by), false, "prose");
        let class = if t.notes.is_empty() { "" } else { "prose" };
        cell(&mut out, &Cell::text(&t.notes.join("; ")), false, class);
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    for (title, constant) in [("Histograms of values that are computed", false), ("Histograms of weights", true)] {
        let those = data.values.iter().enumerate().filter(|(_, v)| v.parameters.constant == constant);
        let cards: Vec<String> = those.filter_map(|(at, v)| card(at, v)).collect();
        if cards.is_empty() {
            continue;
        }
        let of = match (&data.histograms_of, constant) {
            (Some(of), false) => format!(" They are of {}.", escape(of)),
            (None, false) | (_, true) => String::new(),
        };
        let _ = write!(
            out,
            "<h3>{title}</h3>\n<p class=\"soft\">Heights are logarithms, exact zeros are told apart. Dashed lines are the chosen range, what is tinted lies beyond it.{of}</p>\n<div class=\"cards\">\n{}</div>\n",
            cards.concat()
        );
    }
    out
}

/// Every step of the program.
pub fn steps(data: &Data) -> String {
    if data.steps.is_empty() {
        return String::new();
    }
    let mut out = format!(
        "<div class=\"wide tall\" role=\"region\" tabindex=\"0\" aria-label=\"Table of steps\"><table data-sortable><caption>{} of the compiled program, in order; times are means of a run.</caption>\n<thead><tr>",
        counted(data.steps.len(), "step")
    );
    for (name, help, numbers) in [
        ("Step", "The operators in it; a link to the first", false),
        ("Time \u{b5}s", "Mean of a run", true),
        ("Time %", "Share of all steps", true),
        ("Kernel", "What runs it", false),
        ("GMAC/s", "Billions of multiply-accumulates a second", true),
        ("Bytes", "Read and written, each once", true),
    ] {
        title(&mut out, name, help, numbers);
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for step in &data.steps {
        let t = &step.time;
        let name = match step.node {
            Some(at) => format!("<a href=\"#n{at}\">{}</a>", escape(&t.step)),
            None => escape(&t.step),
        };
        let rate = t.macs as f64 / t.ms / 1e6;
        out.push_str("<tr>");
        cell(&mut out, &Cell { key: None, html: name }, false, "name");
        cell(&mut out, &Cell::number(t.ms, format!("{:.1}", t.ms * 1e3)), true, "");
        cell(&mut out, &time(data, t.percent), true, "");
        cell(&mut out, &Cell { key: None, html: format!("<code>{}</code>", escape(t.kernel)) }, false, "");
        let rate = if t.macs == 0 { Cell::default() } else { Cell::number(rate, format!("{rate:.1}")) };
        cell(&mut out, &rate, true, "");
        cell(&mut out, &Cell::number(t.bytes as f64, bytes(t.bytes as u64)), true, "");
        out.push_str("</tr>\n");
    }
    out + "</tbody></table></div>\n"
}

/// Every choice.
pub fn config(data: &Data) -> String {
    if data.config.is_empty() {
        return String::new();
    }
    let changed = data.config.iter().filter(|c| c.source != Source::Default).count();
    let mut out = filter("config", "choices");
    let _ = write!(
        out,
        "<div class=\"wide tall\" role=\"region\" tabindex=\"0\" aria-label=\"Table of choices\"><table id=\"config\" data-sortable><caption>{} in force; a dot marks the {changed} that somebody made.</caption>\n<thead><tr><th scope=\"col\">Choice</th><th scope=\"col\">Value</th><th scope=\"col\">Made by</th><th scope=\"col\">Hardware</th></tr></thead>\n<tbody>\n",
        counted(data.config.len(), "choice")
    );
    for choice in &data.config {
        let class = if choice.source == Source::Default { "" } else { " class=\"changed\"" };
        let _ = writeln!(
            out,
            "<tr{class}><td class=\"name\">{}</td><td class=\"name\">{}</td><td>{}</td><td>{}</td></tr>",
            escape(&choice.key),
            escape(&choice.value),
            escape(&choice.source.to_string()),
            escape(choice.hardware.as_deref().unwrap_or_default())
        );
    }
    out + "</tbody></table></div>\n"
}
