//! Numbers and findings for people.

use crate::args::Stored;
use crate::output::Paper;
use crate::table::{Side, Table, clip};
use lowbit::Config;
use lowbit::bench::ReferenceStep;
use lowbit::data::Preprocess;
use lowbit::evaluate::Evaluation;
use lowbit::left::Left;
pub use lowbit::numbers::{amount, bytes, count, counted, milliseconds, percent, share};

/// A bar of `width` cells for `value` between 0 and `full`.
pub fn bar(value: f64, full: f64, width: usize) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    // A NaN casts to 0.
    let eighths = ((value / full).clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8]);
    }
    bar
}

/// Which output has the classes, if there is a choice, or why none has; `flag` is what chooses one.
pub fn classes(found: &Evaluation, flag: &str) -> Option<String> {
    match (&found.output, &found.classification) {
        (Some(name), _) => match found.outputs.len() {
            1 => None,
            n => Some(format!("output '{}', one of {n}", clip(name, 40))),
        },
        (None, Some(why)) if found.candidates.is_empty() => Some(format!("none: {why}")),
        (None, Some(why)) => Some(format!("none: {why} ({flag} NAME chooses)")),
        (None, None) => None,
    }
}

/// The errors of the outputs with their titles, percent.
pub fn output_errors(found: &Evaluation) -> Vec<(String, f64)> {
    let title = |name: &str| match found.outputs.len() {
        1 => "output error".to_string(),
        _ => format!("output error of '{}'", clip(name, 40)),
    };
    found.outputs.iter().filter_map(|o| Some((title(&o.name), o.relative_error?))).collect()
}

/// What the interpreter runs for want of a kernel, by operator; nothing if there is nothing.
pub fn reference_steps(steps: &[ReferenceStep], paper: &Paper) -> String {
    let mut table = Table::new(&[("op", Side::Left), ("node", Side::Left), ("why", Side::Left)]);
    steps.iter().for_each(|s| table.row([s.op.to_string(), clip(&s.node, 60), s.reason.clone()]));
    match steps.is_empty() {
        true => String::new(),
        false => {
            let title = paper.loud("run by the interpreter, slowly");
            format!("\n{title} ({})\n{}", counted(steps.len(), "step"), table.print(paper, 0))
        }
    }
}

/// What a quantized model has left float: count, share, the first few with their reasons; nothing of a float model.
pub fn left_float(left: Option<&[Left]>) -> String {
    const SHOWN: usize = 3;
    let Some(left) = left else { return String::new() };
    if left.is_empty() {
        return "left float: nothing\n".into();
    }
    let macs = left.iter().map(|l| l.macs_percent).sum();
    let mut shown: Vec<String> = left
        .iter()
        .take(SHOWN)
        .map(|l| format!("{} '{}' ({}: {})", l.op, clip(&l.node, 40), l.rule, l.reason))
        .collect();
    if left.len() > SHOWN {
        shown.push(format!("and {} more (--json lists all)", count((left.len() - SHOWN) as u64)));
    }
    let nodes = counted(left.len(), "node");
    format!("left float: {nodes}, {} % of the multiply-accumulates: {}\n", share(macs), shown.join(", "))
}

/// A line about the configuration of a quantized model; nothing of a float one.
pub fn stored(config: Option<&Stored>) -> String {
    config.map_or(String::new(), |stored| format!("config  {}\n", of_stored(stored)))
}

/// What a quantized model stores of its configuration.
pub fn of_stored(Stored(stored): &Stored) -> String {
    stored.as_ref().map_or("the file stores none".into(), config)
}

/// What a configuration has that the default has not, `samples = 100, weight.bits = 4`, and what shows the rest.
pub fn config(config: &Config) -> String {
    let usual = Config::default().entries();
    let ours = config.entries().into_iter().filter(|entry| !usual.contains(entry));
    let differences: Vec<String> = ours.map(|(key, value)| format!("{key} = {value}")).collect();
    match differences.is_empty() {
        true => "as lowbit list config shows".into(),
        false => format!("{}; all others as lowbit list config shows", differences.join(", ")),
    }
}

/// How images become inputs: `short side 256, centre 224, (x/255 - [0.485, ...]) / [0.229, ...], rgb`, or `0..1, rgb`.
pub fn preprocess(p: &Preprocess) -> String {
    let mut parts = Vec::new();
    parts.extend(p.resize.map(|side| format!("short side {side}")));
    parts.extend(p.crop.map(|side| format!("centre {side}")));
    let numbers = |values: &[f32]| match values {
        [one] => one.to_string(),
        many => format!("[{}]", many.iter().map(f32::to_string).collect::<Vec<_>>().join(", ")),
    };
    let pixel = if p.divisor == 1.0 { "x".into() } else { format!("x/{}", p.divisor) };
    parts.push(match p.mean.iter().all(|m| *m == 0.0) && p.std.iter().all(|s| *s == 1.0) {
        true => format!("0..{}", 255.0 / p.divisor),
        false => format!("({pixel} - {}) / {}", numbers(&p.mean), numbers(&p.std)),
    });
    parts.push(p.channels.to_string());
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stay_within_their_width() {
        assert_eq!(bar(0.0, 40.0, 4), "");
        assert_eq!(bar(15.0, 40.0, 4), "█▌");
        assert_eq!(bar(f64::INFINITY, 40.0, 4), "████");
        assert_eq!(bar(f64::NAN, 40.0, 4), "");
        assert_eq!(bar(-3.0, 40.0, 4), "");
    }

    #[test]
    fn what_is_left_float_is_told_shortly() {
        let left = |i: usize| Left {
            node: format!("n{i}"),
            op: "Softmax".into(),
            rule: "softmax".into(),
            reason: "Softmax has no integer form".into(),
            macs_percent: 0.5,
            elements_percent: 0.0,
        };
        let many: Vec<Left> = (0..5).map(left).collect();
        let told = left_float(Some(&many));
        assert!(told.starts_with("left float: 5 nodes, 2.5 % of the multiply-accumulates: Softmax 'n0' ("), "{told}");
        assert!(told.contains("'n2'") && !told.contains("'n3'") && told.contains("and 2 more"), "{told}");
        assert_eq!((left_float(Some(&[])).as_str(), left_float(None).as_str()), ("left float: nothing\n", ""));
    }

    #[test]
    fn preprocessings_are_told_in_a_line() {
        let of = |name: &str| preprocess(&Preprocess::preset(name).unwrap());
        assert_eq!(
            of("imagenet"),
            "short side 256, centre 224, (x/255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], rgb"
        );
        assert_eq!(of("inception"), "(x/255 - 0.5) / 0.5, rgb");
        assert_eq!((of("unit").as_str(), of("raw").as_str()), ("0..1, rgb", "0..255, rgb"));
    }

    #[test]
    fn a_configuration_is_told_by_its_differences() {
        assert_eq!(config(&Config::default()), "as lowbit list config shows");
        let other = Config { weight: lowbit::Spec::bits(4), ..Config::default() };
        assert_eq!(config(&other), "weight.bits = 4; all others as lowbit list config shows");
        assert_eq!(stored(Some(&Stored(None))), "config  the file stores none\n");
        assert_eq!(stored(None), "");
    }
}
