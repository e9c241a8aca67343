//! Values that are joined share the range of all of them, whoever else reads an operand.

mod common;

use common::{Random, graph, only_integers, outputs, run_pipeline};
use lowbit_quantize::{Config, Options};

/// Between `head`, which makes of the image `%a` what is joined with a layer's result, and a layer that reads both.
fn network(head: &str, joined: &str, channels: usize) -> String {
    format!(
        r#"
graph "join" {{
  input %x: f32[1x3x8x8]
  const %w1: f32[8x3x3x3] = random
  const %w2: f32[4x8x1x1] = random
  const %w3: f32[6x{channels}x1x1] = random
  const %small: f32[scalar] = [0.02]
  %c1: f32[1x8x8x8] = Conv(%x, %w1) {{pads [1, 1, 1, 1]}}
  %a: f32[1x8x8x8] = Relu(%c1)
{head}
  %j = Concat({joined}) {{axis 1}}
  %y = Conv(%j, %w3)
  output %y
}}
"#
    )
}

#[test]
fn an_operand_that_others_read_or_that_was_moved_counts_for_the_range_of_what_is_joined() {
    // The layer's result is far smaller than what it is joined with.
    let small = "  %l = Conv(%a, %w2)\n  %c = Mul(%l, %small)";
    for (what, head, joined, channels) in [
        ("others read it", small.to_string(), "%a, %c", 12),
        ("in the other order", small.to_string(), "%c, %a", 12),
        ("a maximum of it", format!("{small}\n  %m = MaxPool(%a) {{kernel [3, 3], pads [1, 1, 1, 1]}}"), "%m, %c", 12),
        ("a part of it", format!("{small}\n  %s = Slice(%a) {{starts [2], ends [6], axes [1]}}"), "%s, %c", 8),
        ("parts of it", format!("{small}\n  %s, %t = Split(%a) {{axis 1, sizes [4, 4]}}"), "%t, %c, %s", 12),
        ("nobody else reads any", format!("{small}\n  %b = HardSwish(%a)"), "%c, %b", 12),
    ] {
        let g = graph(&network(&head, joined, channels));
        let samples = Random(5).samples(&g, 8);
        for observer in ["minmax", "mse"] {
            let config = Config::from_toml(&format!("equalize = false\ninput.observer = '{observer}'")).unwrap();
            let q = run_pipeline(&g, &Options { config, ..Options::default() }, &samples).unwrap();
            assert!(only_integers(&q.integer), "{what}: {:?}", q.report.left_float);
            let (mut worst, mut largest) = (0.0f32, 0.0f32);
            for sample in &samples {
                for (x, y) in outputs(&g, sample)[0].iter().zip(&outputs(&q.integer, sample)[0]) {
                    worst = worst.max((x - y).abs());
                    largest = largest.max(x.abs());
                }
            }
            assert!(worst < 0.05 * largest, "{what}, {observer}: {worst} of {largest}");
            // The report tells of the range of what is joined, not of one operand's.
            let mut joins = g.clone();
            joins.outputs = vec![g.find("j").unwrap()];
            let all: Vec<f32> = samples.iter().flat_map(|s| outputs(&joins, s).remove(0)).collect();
            let range = all.iter().fold((0.0f32, 0.0f32), |(low, high), x| (low.min(*x), high.max(*x)));
            let seen = q.report.values.iter().find(|v| v.value == "j").unwrap().seen;
            // The small factor was folded into the layer's weights.
            let near = |a: f32, b: f32| (a - b).abs() <= 1e-6 * largest;
            assert!(near(seen.0, range.0) && near(seen.1, range.1), "{what}, {observer}: {seen:?}, not {range:?}");
        }
    }
}
