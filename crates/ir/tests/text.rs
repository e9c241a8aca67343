//! The text form comes back exactly, and no text brings the parser down.

mod random;

use lowbit_ir::text::{Constants, OPERATORS, parse, print, print_with};
use lowbit_ir::verify::verify;
use lowbit_ir::{DType, Graph, Op, Tensor, Type};
use random::Random;
use std::time::{Duration, Instant};

#[test]
fn random_graphs_come_back() {
    for seed in 0..3000 {
        let g = random::graph(seed, false);
        let text = print(&g);
        let back = parse(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
        assert!(back == g.compact(), "seed {seed}: another graph comes back\n{text}\n{}", print(&back));
        assert_eq!(print(&back), text, "seed {seed}");
    }
}

#[test]
fn not_a_numbers_come_back() {
    let mut payloads = 0;
    for seed in 10_000..12_000 {
        let g = random::graph(seed, true);
        let text = print(&g);
        payloads += text.matches("nan(0x").count();
        // Graphs with NaN equal nothing, but the text tells all bits.
        let back = parse(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{text}"));
        assert_eq!(print(&back), text, "seed {seed}");
    }
    assert!(payloads > 100, "expected NaNs with odd bits among the samples, found {payloads}");
}

#[test]
fn every_operator_comes_back() {
    let mut r = Random(1);
    for name in OPERATORS.iter().copied() {
        for _ in 0..20 {
            let op = random::op(name, &mut r, false);
            assert_eq!(op.name(), name);
            let mut g = Graph::new("g");
            g.add_node("n", op.clone(), vec![], &[("y", Type::f32(vec![1]))]);
            let text = print(&g);
            let back = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!(back.nodes().next().map(|(_, n)| &n.op), Some(&op), "{text}");
        }
    }
}

#[test]
fn every_float_comes_back() {
    let mut r = Random(2);
    let mut bits: Vec<u32> = (0..4000).map(|_| r.bits() as u32).collect();
    bits.extend([0, 0x8000_0000, 1, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0x7f7f_ffff]);
    let mut all: Vec<Tensor> = Vec::new();
    for chunk in bits.chunks(16) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|b| b.to_le_bytes()).collect();
        all.push(Tensor::from_bytes(Type::f32(vec![chunk.len()]), bytes.into()).unwrap());
    }
    // All 65536 halves of both kinds.
    for dtype in [DType::F16, DType::BF16] {
        for first in (0..=u16::MAX).step_by(16) {
            let bytes: Vec<u8> = (first..=first + 15).flat_map(u16::to_le_bytes).collect();
            all.push(Tensor::from_bytes(Type::plain(dtype, vec![16]), bytes.into()).unwrap());
        }
    }
    for chunk in all.chunks(512) {
        let mut g = Graph::new("g");
        g.outputs = chunk.iter().map(|t| g.add_const("c", t.clone())).collect();
        let text = print(&g);
        assert!(!text.contains("hex"), "floats print as numbers");
        let back = parse(&text).unwrap();
        for (v, t) in back.outputs.iter().zip(chunk) {
            assert_eq!(back.constant(*v).unwrap().bytes(), t.bytes());
        }
    }
}

#[test]
fn mutated_texts_are_read_or_refused_quickly() {
    let (mut read, mut refused, mut slowest) = (0, 0, Duration::ZERO);
    for seed in 0..6000 {
        let mut r = Random(seed ^ 0xf00d);
        let mut text = print(&random::graph(seed % 500, false));
        let other = print(&random::graph(seed % 500 + 1, false));
        for _ in 0..=r.below(3) {
            text = mutate(&text, &other, &mut r);
        }
        let start = Instant::now();
        match parse(&text) {
            Err(e) => {
                assert!(e.message().starts_with("line "), "an error without a place: {e}");
                refused += 1;
            }
            Ok(g) => {
                let again = print(&g);
                let back = parse(&again).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{again}"));
                assert_eq!(print(&back), again, "seed {seed}");
                // Whatever was read, the verifier has an opinion on it and does not fall over.
                let _ = verify(&g);
                read += 1;
            }
        }
        slowest = slowest.max(start.elapsed());
    }
    assert!(read > 200 && refused > 200, "expected both outcomes often, found {read} and {refused}");
    assert!(slowest < Duration::from_secs(1), "the slowest text took {slowest:?}");
}

/// One change of a kind that files suffer: bytes lost, doubled, replaced, numbers out of bounds, parts of other files.
fn mutate(text: &str, other: &str, r: &mut Random) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let (a, b) = (r.below(bytes.len() + 1), r.below(bytes.len() + 1));
    let (a, b) = (a.min(b), a.max(b).min(a.min(b) + 40));
    match r.below(7) {
        0 => drop(bytes.drain(a..b)),
        1 => bytes.truncate(a),
        2 => {
            let copy = bytes[a..b].to_vec();
            bytes.splice(a..a, copy);
        }
        3 => {
            let c = r.pick(b"(){}[]%@\"\\,:=_-.x0123456789 \n/\xff");
            bytes.splice(a..(a + 1).min(bytes.len()), [c]);
        }
        4 => {
            if let Some(at) = (a..bytes.len()).find(|i| bytes[*i].is_ascii_digit()) {
                let number: &[u8] =
                    r.pick(&[&b"99999999999999999999999999999999999999999"[..], b"4294967296", b"-1", b"1e99"]);
                bytes.splice(at..=at, number.iter().copied());
            }
        }
        5 => {
            let other = other.as_bytes();
            let at = r.below(other.len());
            bytes.splice(a..b, other[at..(at + 60).min(other.len())].iter().copied());
        }
        _ => {
            // Whole lines trade places.
            let mut lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
            let (i, j) = (r.below(lines.len()), r.below(lines.len()));
            lines.swap(i, j);
            bytes = lines.join(&b'\n');
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn claimed_sizes_allocate_nothing() {
    for body in [
        "const %c: f32[99999999999x99999999999] = [1.0]",
        "const %c: i2[18446744073709551615] = hex \"00\"",
        "const %c: u8[4294967296] = []",
        "const %c: f32[1x2x18446744073709551616] = [1.0]",
    ] {
        let e = parse(&format!("graph \"g\" {{ {body} }}")).unwrap_err().to_string();
        assert!(e.starts_with("line 1, column "), "{e}");
    }
    let huge = "graph \"g\" { input %x: f32[4294967296x9] %y = Relu(%x) output %y }";
    assert_eq!(parse(huge).unwrap().outputs.len(), 1);
}

#[test]
fn deep_and_long_texts_are_refused_quickly() {
    let start = Instant::now();
    for text in
        ["(".repeat(1 << 20), "[".repeat(1 << 20), "{".repeat(1 << 20), "\"\\".repeat(1 << 20), "/".repeat(1 << 20)]
    {
        assert!(parse(&text).is_err());
        assert!(parse(&format!("graph \"g\" {{ const %c: f32[1] = {text}")).is_err());
        assert!(parse(&format!("graph \"g\" {{ %y = Conv({text}")).is_err());
    }
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
}

#[test]
fn errors_say_where_and_what() {
    for (text, expected) in [
        ("", "line 1, column 1: expected 'graph', found the end of the text"),
        (
            "graph \"g\" {\n  input %x f32[1]\n}",
            "line 2, column 12: expected ':' and a type behind the name, found 'f32'",
        ),
        (
            "graph \"g\" {\n  input %x: f33[1]\n}",
            "line 2, column 13: expected a dtype such as f32, u8 or i4, found 'f33'",
        ),
        ("graph \"g\" { input %é: f32[1] }", "line 1, column 20: expected the name of a value, found 'é'"),
        (
            "graph \"é\" { input %x: f32[1] %y = Relu(%z) }",
            "line 1, column 40: expected a value defined above, found 'z'",
        ),
        (
            "graph \"g\" { input %data: f32[1] %y = Relu(%dat) }",
            "line 1, column 43: expected a value defined above, found 'dat' (did you mean 'data'?)",
        ),
        ("graph \"g\" { input %x: f32[1] input %x: f32[1] }", "column 36: the value 'x' is defined twice"),
        ("graph \"g\" { input %x: f32[1] %y = Rely(%x) }", "no operator is named 'Rely' (did you mean 'Relu'?)"),
        ("graph \"g\" { input %x: f32[1] %y = Elu(%x) {alpa 1} }", "no attribute 'alpa' (did you mean 'alpha'?)"),
        ("graph \"g\" { input %x: f32[1] %y = Elu(%x) {alpha x} }", "attribute 'alpha': expected a number, found 'x'"),
        ("graph \"g\" { input %x: f32[1] %y = Cast(%x) }", "column 35: expected the attribute 'to', found none"),
        ("graph \"g\" { input %x: f32[1] %y = Elu(%x) {alpha 1, alpha 2} }", "the attribute 'alpha' is given twice"),
        ("graph \"g\" { const %c: u8[2] = [1, 256] }", "expected integers in 0..=255 for u8, found 256"),
        ("graph \"g\" { const %c: u8[2] = [1] }", "expected 2 bytes for u8[2], found 1"),
        ("graph \"g\" { const %c: u8[2] = hex \"0z\" }", "column 37: expected two hexadecimal digits a byte"),
        ("graph \"g\" { const %c: u8[N] = [1] }", "expected known dimensions, found N"),
        ("graph \"g\" { const %c: f32[1] = [1e39] }", "expected a number within the range of f32, found '1e39'"),
        ("graph \"g\" { } graph", "column 15: expected nothing behind the graph, found 'graph'"),
        ("graph \"g\" { input %x: f32[1] output %x", "found the end of the text"),
        ("graph \"g", "column 7: expected a closing quote behind the graph's name"),
        ("graph \"\\q\" {}", r#"column 8: expected one of \" \\ \n \r \t \u{...}"#),
    ] {
        let e = parse(text).expect_err(text).to_string();
        assert!(e.contains(expected), "{text}\nexpected: {expected}\nfound:    {e}");
    }
}

#[test]
fn elided_texts_are_for_reading() {
    let mut g = Graph::new("g");
    let small = g.add_const("small", Tensor::from_f32(&[2], vec![1.0, 2.0]).unwrap());
    let scales = lowbit_ir::Quant::per_channel((0..17).map(|i| 0.5 + i as f32).collect(), 0, -127, 127);
    let ty = Type::quantized(DType::I8, vec![17], scales);
    let large = g.add_const("large", Tensor::from_ints(ty, &[3; 17]).unwrap());
    g.outputs = vec![small, large];
    let text = print_with(&g, Constants::Elided);
    assert!(text.contains("const %small: f32[2] = [1.0, 2.0]\n"), "{text}");
    let large = "const %large: i8[17]{[0.5, 1.5, 2.5, ... 17 in all] * q in -127..127, axis 0} = elided(17 bytes, fnv ";
    assert!(text.contains(large), "{text}");
    let e = parse(&text).unwrap_err().to_string();
    assert!(e.contains("print it with all constants"), "{e}");
    assert!(
        parse("graph \"g\" { const %c: u8[99] = elided(99 bytes, fnv 0) }")
            .unwrap_err()
            .to_string()
            .contains("left out")
    );
    assert_eq!(parse(&print(&g)).unwrap(), g);
}

#[test]
fn usual_values_may_be_left_out() {
    let text = r#"
        // A comment.
        graph "g" {
          input %x: f32[Nx3x8x8]   // Types of nodes are inferred.
          const %w: f32[1x3x1x1] = [1, -0.5, 2e0]
          %y = Conv(%x, %w, _)
          %z = MaxPool(%y) {kernel [2, 2], strides [2, 2]} @pool rule "by hand"
          output %z
        }"#;
    let g = parse(text).unwrap();
    verify(&g).unwrap();
    assert_eq!(g.ty(g.outputs[0]).to_string(), "f32[Nx1x4x4]");
    let (conv, pool) = (&g.nodes().next().unwrap().1, &g.nodes().nth(1).unwrap().1);
    let Op::Conv(c) = &conv.op else { panic!("expected a Conv, found {:?}", conv.op) };
    assert_eq!((&*c.strides, &*c.pads, &*c.dilations, c.group), (&[1, 1][..], &[0; 4][..], &[1, 1][..], 1));
    assert_eq!((conv.name.as_str(), pool.name.as_str(), pool.rule.as_deref()), ("y", "pool", Some("by hand")));
    assert_eq!(parse(&print(&g)).unwrap(), g);
}

#[test]
fn broken_graphs_print() {
    let mut g = parse("graph \"g\" { input %x: f32[1] %y = Relu(%x) %z = Relu(%y) output %z }").unwrap();
    let y = g.find("y").unwrap();
    g.remove_value(y);
    g.outputs.push(y);
    let text = print(&g);
    assert!(text.contains("%<removed 1>"), "{text}");
    assert!(parse(&text).is_err());
}
