//! The page: one file that holds all it shows, needs nothing from elsewhere, and lets nothing else in.
//!
//! A policy in its head names the one style and the one script by their digests, so that not even a name that
//! slipped through [`escape`] could run or load anything. Without scripts all is there but sorting, filtering and zoom.

use super::bands::{Band, ERROR, TIME};
use super::charts::{self, bar};
use super::data::{Compared, Computes, Data, Node, shown};
use super::html::{allowed, decibels, escape, real};
use super::picture::svg;
use super::tables;
use crate::bench::Timing;
use crate::numbers::{bytes, count, counted, milliseconds, percent, share};
use crate::recipe::Evidence;
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A full bar: an error that nobody sees.
pub const GOOD_DB: f64 = 40.0;

/// A part of the page: its anchor, its title, and what writes it; nothing is written of what there is nothing of.
struct Section {
    id: &'static str,
    title: &'static str,
    write: fn(&Data) -> String,
}

static SECTIONS: [Section; 8] = [
    Section { id: "overview", title: "Overview", write: overview },
    Section { id: "graph", title: "The graph", write: graph },
    Section { id: "operators", title: "Operators", write: tables::operators },
    Section { id: "float", title: "What stays float", write: tables::left_float },
    Section { id: "values", title: "Values and their ranges", write: tables::values },
    Section { id: "time", title: "Where the time goes", write: tables::steps },
    Section { id: "choices", title: "Choices", write: tables::config },
    Section { id: "origin", title: "Where it comes from", write: origin },
];

/// The whole page.
pub fn page(data: &Data) -> String {
    let written: Vec<(&Section, String)> =
        SECTIONS.iter().map(|s| (s, (s.write)(data))).filter(|(_, text)| !text.is_empty()).collect();
    let title = escape(&data.title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src {}; script-src {}; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} - lowbit report</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the report</a>\n<header>\n\
         <div class=\"top\"><div><p class=\"soft\">lowbit report</p>\n<h1>{title}</h1>\n<p class=\"soft\">compared with {}</p></div>\n\
         <button type=\"button\" id=\"theme\" data-script hidden>Theme: auto</button></div>\n\
         <nav aria-label=\"Parts of the report\"><ul>",
        allowed(STYLE),
        allowed(SCRIPT),
        escape(&data.reference)
    );
    for (section, _) in &written {
        let _ = write!(out, "<li><a href=\"#{}\">{}</a></li>", section.id, section.title);
    }
    out.push_str("</ul></nav>\n</header>\n<main id=\"main\">\n");
    for (Section { id, title, .. }, text) in &written {
        let _ = write!(
            out,
            "<section id=\"{id}\" aria-labelledby=\"{id}-title\">\n<h2 id=\"{id}-title\">{title}</h2>\n{text}</section>\n"
        );
    }
    let _ = write!(
        out,
        "</main>\n<footer><p>Written by lowbit {}.</p></footer>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        escape(&data.lowbit)
    );
    out
}

/// What everybody wants to know first.
fn overview(data: &Data) -> String {
    let mut out = String::from("<dl class=\"tiles\">\n");
    for (name, big, small) in tiles(data) {
        let _ = writeln!(
            out,
            "<div><dt>{}</dt><dd class=\"big\">{}</dd><dd class=\"small\">{small}</dd></div>",
            escape(name),
            escape(&big)
        );
    }
    out.push_str("</dl>\n");
    let noise = data.accuracy.as_ref().is_some_and(|a| a.random) || data.compared.as_ref().is_some_and(|c| c.random);
    if noise {
        out.push_str("<p class=\"warn\">The data is <strong>random noise</strong>: nothing measured with it says how good the model is.</p>\n");
    }
    for text in &data.not_measured {
        let _ = writeln!(out, "<p class=\"soft\">Not measured: {}</p>", escape(text));
    }
    out.push_str(&before_and_after(data));
    if let Some(what) = data.compared.as_ref().and_then(|c| c.not_finite.as_ref()) {
        let _ = writeln!(
            out,
            "<p class=\"warn\">{}: there are no figures for it and for what follows from it.</p>",
            escape(what)
        );
    }
    out
}

/// A tile: its name, its figure, and a line in HTML.
fn tiles(data: &Data) -> Vec<(&'static str, String, String)> {
    let mut tiles = Vec::new();
    if let Some(accuracy) = &data.accuracy {
        let e = &accuracy.evaluation;
        let on = format!("{} of {}", counted(e.samples, "sample"), escape(&accuracy.data));
        if let (Some(top1), Some(float)) = (e.top1, e.reference) {
            let change = format!("{:+.2} points from {} %, on {on}", top1 - float.top1, percent(float.top1));
            tiles.push(("Top-1 accuracy", format!("{} %", percent(top1)), change));
        }
        if let Some(agreement) = e.agreement {
            tiles.push(("Same class as float", format!("{} %", percent(agreement)), format!("on {on}")));
        }
    }
    if let Some(Compared { outputs, samples, data: on, .. }) = &data.compared {
        let worst = outputs.iter().map(|o| o.errors.sqnr_db).min_by(f64::total_cmp);
        if let Some(db) = worst {
            let what = if outputs.len() == 1 { "the output" } else { "the worst output" };
            let line = format!("{what} is {} off, on {} of {}", relative(db), counted(*samples, "sample"), escape(on));
            tiles.push(("Signal to noise", decibels_told(db), line));
        }
    }
    if let Some(latency) = &data.latency {
        let (before, after) = (latency.float.median_ms, latency.integer.median_ms);
        let line = format!(
            "{} ms after {} ms, {}, {}",
            milliseconds(after),
            milliseconds(before),
            counted(latency.integer.threads, "thread"),
            escape(latency.integer.isa)
        );
        tiles.push(("Latency", times(before / after, "faster", "slower"), line));
    }
    if let Some(size) = data.sizes.first() {
        let line = format!("{} after {}", bytes(size.after), bytes(size.before));
        let ratio = size.before as f64 / size.after.max(1) as f64;
        tiles.push(("Constants", times(ratio, "smaller", "larger"), line));
    }
    let (layers, integer) = (data.nodes.iter().filter(|n| n.layer), Computes::Integers);
    let (all, on): (Vec<&Node>, Vec<&Node>) =
        (layers.clone().collect(), layers.filter(|n| n.computes == integer).collect());
    if !all.is_empty() {
        let work = |of: &[&Node]| of.iter().map(|n| n.macs).sum::<u64>();
        let part = match work(&all) {
            0 => String::new(),
            whole => format!("{} % of the multiply-accumulates", share(100.0 * work(&on) as f64 / whole as f64)),
        };
        tiles.push(("Layers on integers", format!("{} of {}", count(on.len() as u64), count(all.len() as u64)), part));
    }
    let known = data.nodes.iter().enumerate().filter_map(|(at, n)| Some((at, n, shown(n)?.sqnr_db)));
    if let Some((at, node, db)) = known.filter(|(_, n, _)| n.layer).min_by(|a, b| a.2.total_cmp(&b.2)) {
        let line = format!("<a href=\"#g{at}\">{}</a>", escape(&node.name));
        tiles.push(("Worst layer", decibels_told(db), line));
    }
    tiles
}

fn decibels_told(db: f64) -> String {
    if db.is_finite() { format!("{} dB", decibels(db)) } else { decibels(db) }
}

/// Root mean square of the noise over that of the signal.
fn relative(db: f64) -> String {
    format!("{} %", real(100.0 * 10f64.powf(-db / 20.0)))
}

/// `2.6 times faster`.
fn times(ratio: f64, more: &str, less: &str) -> String {
    match () {
        () if !ratio.is_finite() || ratio <= 0.0 => "unknown".into(),
        () if (0.995..1.005).contains(&ratio) => "the same".into(),
        () if ratio > 1.0 => format!("{ratio:.2}\u{d7} {more}"),
        () => format!("{:.2}\u{d7} {less}", 1.0 / ratio),
    }
}

/// A row of the first table; bars are of the greater of two where more is just more.
struct Row {
    name: String,
    before: (f64, String),
    after: (f64, String),
    change: String,
    /// 1: it is better, -1: worse, 0: neither.
    good: i8,
}

fn before_and_after(data: &Data) -> String {
    let mut rows = Vec::new();
    if let Some(accuracy) = &data.accuracy {
        let e = &accuracy.evaluation;
        if let (Some(top1), Some(top5), Some(float)) = (e.top1, e.top5, e.reference) {
            for (name, before, after) in [("Top-1", float.top1, top1), ("Top-5", float.top5, top5)] {
                let told = |p: f64| (p, format!("{} %", percent(p)));
                let change = format!("{:+.2} points", after - before);
                rows.push(Row {
                    name: name.into(),
                    before: told(before),
                    after: told(after),
                    change,
                    good: sign(after - before),
                });
            }
        }
    }
    if let Some(latency) = &data.latency {
        let told = |t: &Timing| (t.median_ms, format!("{} ms", milliseconds(t.median_ms)));
        let (before, after) = (told(&latency.float), told(&latency.integer));
        let (good, change) = (sign(before.0 - after.0), times(before.0 / after.0, "faster", "slower"));
        rows.push(Row { name: "Median latency".into(), before, after, change, good });
    }
    for size in &data.sizes {
        let told = |n: u64| (n as f64, bytes(n));
        let (before, after) = (told(size.before), told(size.after));
        let (good, change) = (sign(before.0 - after.0), times(before.0 / after.0, "smaller", "larger"));
        rows.push(Row { name: size.name.clone(), before, after, change, good });
    }
    let mut out = String::new();
    if !rows.is_empty() {
        out.push_str("<div class=\"wide pair\"><table><caption>Before and after. Bars of a row are of the greater of both; those of percents of all.</caption>\n<thead><tr><th scope=\"col\">Measure</th><th scope=\"col\">Before</th><th scope=\"col\">After</th><th scope=\"col\">Change</th></tr></thead>\n<tbody>\n");
    }
    for row in &rows {
        let full = if row.name.starts_with("Top-") { 100.0 } else { row.before.0.max(row.after.0) };
        let class = match row.good {
            1 => "good",
            -1 => "bad",
            _ => "soft",
        };
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{} {}</td><td>{} {}</td><td class=\"{class}\">{}</td></tr>",
            escape(&row.name),
            row.before.1,
            bar(row.before.0 / full, 110, "before"),
            row.after.1,
            bar(row.after.0 / full, 110, ""),
            escape(&row.change)
        );
    }
    if !rows.is_empty() {
        out.push_str("</tbody></table></div>\n");
    }
    out + &outputs(data)
}

fn sign(x: f64) -> i8 {
    i8::from(x > 0.0) - i8::from(x < 0.0)
}

/// The outputs, where layers were compared, and on labelled data besides.
fn outputs(data: &Data) -> String {
    let mut lines = Vec::new();
    if let Some(compared) = &data.compared {
        for output in &compared.outputs {
            let e = output.errors;
            lines.push((
                output.name.clone(),
                format!("{} samples of {}", compared.samples, compared.data),
                [decibels(e.sqnr_db), relative(e.sqnr_db), format!("{:.5}", e.cosine), real(e.max_error)],
            ));
        }
    }
    if let Some(accuracy) = &data.accuracy {
        let e = &accuracy.evaluation;
        for output in e.outputs.iter().filter(|o| o.relative_error.is_some()) {
            let error = output.relative_error.unwrap_or_default();
            let db = if error > 0.0 { -20.0 * (error / 100.0).log10() } else { f64::INFINITY };
            lines.push((
                output.name.clone(),
                format!("{} samples of {}", e.samples, accuracy.data),
                [decibels(db), format!("{} %", real(error)), String::new(), String::new()],
            ));
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<h3>Outputs</h3>\n<div class=\"wide\"><table><caption>How far the outputs are from the reference's: signal to noise, and root mean square of the difference.</caption>\n<thead><tr><th scope=\"col\">Output</th><th scope=\"col\">Data</th><th scope=\"col\" class=\"num\">SQNR dB</th><th scope=\"col\" class=\"num\">Off by</th><th scope=\"col\" class=\"num\">Cosine</th><th scope=\"col\" class=\"num\">Greatest difference</th></tr></thead>\n<tbody>\n",
    );
    for (name, of, figures) in lines {
        let figures: String = figures.iter().map(|f| format!("<td class=\"num\">{}</td>", escape(f))).collect();
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\" class=\"name\">{}</th><td>{}</td>{figures}</tr>",
            escape(&name),
            escape(&of)
        );
    }
    out + "</tbody></table></div>\n"
}

/// The picture with its tools.
fn graph(data: &Data) -> String {
    let picture = svg(data);
    if picture.is_empty() {
        return String::new();
    }
    let (errors, times) = (data.nodes.iter().any(|n| shown(n).is_some()), !data.steps.is_empty());
    let choices = [("error", "error", errors), ("time", "time", times), ("kind", "float or integers", true)];
    let first = choices.iter().position(|(_, _, there)| *there).unwrap_or(2);
    let mut out = String::from(
        "<p class=\"soft\">Every box is a link to its row below. Dashed: on floats. Dotted: merged into the operator before.</p>\n<div class=\"tools\"><fieldset><legend>Colour by</legend>",
    );
    for (i, (id, words, _)) in choices.iter().enumerate().filter(|(_, (_, _, there))| *there) {
        let checked = if i == first { " checked" } else { "" };
        let _ = write!(out, "<label><input type=\"radio\" name=\"by\" id=\"by-{id}\"{checked}> {words}</label>");
    }
    out.push_str("</fieldset>\n<span data-script hidden><button type=\"button\" id=\"zoom-out\" aria-label=\"Zoom out\">\u{2212}</button> <button type=\"button\" id=\"zoom-in\" aria-label=\"Zoom in\">+</button> <button type=\"button\" id=\"zoom-width\">Fit width</button> <button type=\"button\" id=\"zoom-all\">Fit all</button> <span id=\"zoom-told\" class=\"soft\" role=\"status\"></span></span></div>\n");
    if errors {
        out.push_str(&legend(data, "for-error", 's', &ERROR, |n| shown(n).map(|e| super::bands::of_error(e.sqnr_db))));
    }
    if times {
        let of = |n: &Node| n.step.map(|step| super::bands::of_time(data.steps[step].time.percent));
        out.push_str(&legend(data, "for-time", 's', &TIME, of));
    }
    out.push_str(&kinds(data));
    let _ = write!(
        out,
        "<div class=\"picture\">\n<div class=\"canvas\" id=\"canvas\" role=\"region\" tabindex=\"0\" aria-label=\"Picture of the graph: scrolls; plus and minus zoom, arrows go from box to box\">\n{picture}</div>\n\
         <div class=\"details\" data-script hidden><h3>Under the pointer or the keyboard</h3><div id=\"details-of-node\" aria-live=\"polite\"><p class=\"soft\">Point at a box, or go to one with Tab and the arrow keys.</p></div></div>\n</div>\n"
    );
    out
}

/// What colours mean, and how many operators have each.
fn legend(data: &Data, class: &str, prefix: char, bands: &[Band], of: impl Fn(&Node) -> Option<usize>) -> String {
    let mut counts = vec![0usize; bands.len()];
    let mut none = 0;
    data.nodes.iter().for_each(|n| match of(n) {
        Some(band) => counts[band] += 1,
        None => none += 1,
    });
    let mut out = format!("<ul class=\"legend {class}\" aria-label=\"Colours\">");
    for (i, (band, n)) in bands.iter().zip(&counts).enumerate() {
        let _ = write!(out, "<li>{}{}: {n}</li>", swatch(&format!("{prefix}{i}")), band.words);
    }
    if none > 0 {
        let _ = write!(out, "<li>{}no figure of its own: {none}</li>", swatch("none"));
    }
    out + "</ul>\n"
}

fn kinds(data: &Data) -> String {
    let n = |kind: Computes| data.nodes.iter().filter(|n| n.computes == kind).count();
    format!(
        "<ul class=\"legend for-kind\" aria-label=\"Colours\"><li>{}on integers: {}</li><li>{}merged into the operator before: {}</li><li>{}on floats: {}</li></ul>\n",
        swatch("none"),
        n(Computes::Integers),
        swatch("none merged"),
        n(Computes::Merged),
        swatch("s2 floats"),
        n(Computes::Floats)
    )
}

fn swatch(class: &str) -> String {
    format!(
        "<svg width=\"22\" height=\"14\" aria-hidden=\"true\"><rect class=\"swatch {class}\" x=\"1\" y=\"1\" width=\"20\" height=\"12\" rx=\"3\"/></svg>"
    )
}

/// What it was made of and with.
fn origin(data: &Data) -> String {
    let mut facts: Vec<(String, String)> = data.facts.iter().map(|f| (f.name.clone(), f.text.clone())).collect();
    if let Some(recipe) = &data.recipe {
        facts.push(("made by".into(), format!("lowbit {}", recipe.lowbit)));
        facts.push(("float model".into(), format!("SHA-256 {}", recipe.model)));
        facts.push((
            "ranges".into(),
            match &recipe.evidence {
                Evidence::Data { samples, sha256 } => format!("from {}, SHA-256 {sha256}", counted(*samples, "sample")),
                Evidence::Statistics { samples, sha256 } => {
                    format!("from statistics of {} samples, SHA-256 {sha256}", count(*samples))
                }
                Evidence::Nothing => "from nothing: one global scale".into(),
            },
        ));
        facts.extend(recipe.own.iter().map(|own| ("function of its own".into(), own.clone())));
    }
    facts.extend(data.notes.iter().map(|note| ("note".into(), note.clone())));
    if let Some(latency) = &data.latency {
        facts.push(("timed on".into(), latency.integer.cpu.clone()));
        facts.push(("inputs".into(), latency.integer.inputs.join(", ")));
    }
    if facts.is_empty() {
        return String::new();
    }
    let mut out = String::from("<dl class=\"facts\">\n");
    for (name, text) in facts {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(&name), escape(&text));
    }
    out.push_str("</dl>\n");
    if data.recipe.is_some() {
        out.push_str("<p class=\"soft\">The recipe travels in the model's file: <code>lowbit reproduce</code> makes it again and compares the bytes.</p>\n");
    }
    out
}

/// Histograms have their place beside the values.
pub(super) fn card(at: usize, value: &super::data::Value) -> Option<String> {
    let bars = value.histogram.as_ref()?;
    let t = &value.parameters;
    Some(format!(
        "<figure id=\"v{at}\">{}<figcaption><span class=\"name\">{}</span><br>{} {}: {}</figcaption></figure>\n",
        charts::histogram(value, bars),
        escape(&t.name),
        escape(t.kind.as_deref().unwrap_or("value")),
        escape(&t.dtype),
        escape(&charts::told(value, bars))
    ))
}
