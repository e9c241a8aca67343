//! What a device can compute: numeric constraints, not speed.
//!
//! A new device is one entry of [`ALL`]; a constraint that no entry can express yet is a field of [`Hardware`] and a
//! line of [`check`].

use crate::suggest::did_you_mean;
use crate::{Def, Error, Graph, Node, Op, Quant, Result, ValueId};
use lowbit_arithmetic::Method;

/// The numeric constraints of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardware {
    /// Name in configurations and messages.
    pub name: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// Widest accumulator of a multiply-accumulate, in bits.
    pub accumulator_bits: u32,
    /// Widest operand of a multiply-accumulate, in bits.
    pub operand_bits: u32,
    /// How it can change scales.
    pub methods: &'static [Method],
    /// Whether float operators may remain between the integers. Without, only the graph's own inputs and outputs can
    /// be floats, behind one Quantize or Dequantize that the host does.
    pub float: bool,
    /// Whether values may have a scale per channel.
    pub per_channel: bool,
    /// Whether zero points other than 0 exist.
    pub zero_points: bool,
    /// Whether it looks activations up in tables.
    pub tables: bool,
}

/// The device that is meant where none is named: it can do all there is.
pub const HOST: &str = "host";

/// Every device known by name.
pub const ALL: &[Hardware] = &[
    Hardware {
        name: HOST,
        summary: "a general processor: everything that the graph can say",
        accumulator_bits: 64,
        operand_bits: 32,
        methods: &[Method::Float32, Method::Fixed, Method::Shift],
        float: true,
        per_channel: true,
        zero_points: true,
        tables: true,
    },
    Hardware {
        name: "integer-only",
        summary: "no float unit: scales change by integer multiplication or by shifts",
        accumulator_bits: 32,
        operand_bits: 16,
        methods: &[Method::Fixed, Method::Shift],
        float: false,
        per_channel: true,
        zero_points: true,
        tables: true,
    },
    Hardware {
        name: "shift-only",
        summary: "no float unit and no wide multiplier: power-of-two scales, symmetric integers",
        accumulator_bits: 32,
        operand_bits: 8,
        methods: &[Method::Shift],
        float: false,
        per_channel: true,
        zero_points: false,
        tables: true,
    },
];

/// The device of this name, or an error that lists those there are.
pub fn find(name: &str) -> Result<&'static Hardware> {
    ALL.iter().find(|h| h.name == name).ok_or_else(|| {
        let names = ALL.iter().map(|h| h.name);
        Error::new(format!("no hardware is named '{name}'{}", did_you_mean(name, names.clone())))
            .hint(names.collect::<Vec<_>>().join(", "))
    })
}

/// A constraint that something in the graph breaks.
struct Broken {
    /// What, at the place whose name stands in front.
    what: String,
    /// What would keep it, in words of a configuration where it has some for that.
    remedy: String,
}

impl Broken {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// Whether the graph keeps all constraints, or one error that lists every violation and what would mend each kind.
pub fn check(g: &Graph, hardware: &Hardware) -> Result<()> {
    let mut wrong: Vec<String> = Vec::new();
    let mut remedies: Vec<String> = Vec::new();
    let mut note = |place: String, broken: Broken| {
        wrong.push(format!("{place}: {}", broken.what));
        if !remedies.contains(&broken.remedy) {
            remedies.push(broken.remedy);
        }
    };
    for (_, node) in g.nodes() {
        for broken in check_node(g, node, hardware) {
            note(format!("node '{}'", node.name), broken);
        }
    }
    for (_, value) in g.values() {
        let Some(q) = &value.ty.quant else { continue };
        if !hardware.per_channel && !q.is_per_tensor() {
            let what = format!("it has {} scales, one is allowed", q.scale.len());
            note(
                format!("value '{}'", value.name),
                Broken::new(what, "input.per = 'tensor' and weight.per = 'tensor'"),
            );
        }
        if !hardware.zero_points && q.zero_point.iter().any(|z| *z != 0) {
            let remedy = "signed = true and symmetric = true for inputs, activations and weights";
            note(format!("value '{}'", value.name), Broken::new("it has a zero point other than 0", remedy));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Error::new(format!(
        "the graph breaks {} constraints of the hardware '{}':\n  {}",
        wrong.len(),
        hardware.name,
        wrong.join("\n  ")
    ))
    .hint(remedies.join("; ")))
}

fn check_node(g: &Graph, node: &Node, hardware: &Hardware) -> Vec<Broken> {
    let mut wrong = Vec::new();
    if let (true, Some(output)) = (node.op.is_layer(), node.outputs.first()) {
        let allowed = hardware.operand_bits;
        for v in node.operands().take(2) {
            let ty = g.ty(v);
            let bits = ty.quant.as_ref().map_or(0, width);
            if bits > allowed {
                let what = format!("the operand '{}' has {bits} bits, {allowed} are allowed", g.value(v).name);
                wrong.push(Broken::new(what, format!("input.bits and weight.bits of at most {allowed}")));
            }
        }
        let bits = g.ty(*output).quant.as_ref().map_or(0, width);
        let allowed = hardware.accumulator_bits;
        if bits > allowed {
            let what = format!("the accumulator has {bits} bits, {allowed} are allowed");
            wrong.push(Broken::new(what, format!("accumulator_bits = {allowed}")));
        }
    }
    if let Some(method) = node.op.rescale().map(|r| r.method).filter(|m| !hardware.methods.contains(m)) {
        let allowed: Vec<&str> = hardware.methods.iter().map(|m| m.name()).collect();
        let what = format!("it rescales by the method {method}, allowed are {}", allowed.join(", "));
        wrong.push(Broken::new(what, format!("requantize = '{}'", allowed.join("' or '"))));
    }
    if let Some(count) = multiplied_average(g, node).filter(|_| !hardware.methods.contains(&Method::Fixed)) {
        let remedy = "no configuration makes a shift of such an average: give the model windows of a power of two";
        let what = format!("an average over {count} values needs a multiplier, since no shift divides by that");
        wrong.push(Broken::new(what, remedy));
    }
    if !hardware.tables && matches!(node.op, Op::Table) {
        let remedy = "a function that needs no table, such as Relu, in the model";
        wrong.push(Broken::new("it looks up a table", remedy));
    }
    if !hardware.float && computes_floats(g, node) {
        let remedy = "integer_only = true, which says of each float operator why it stays float";
        wrong.push(Broken::new(format!("{} computes floats", node.op.name()), remedy));
    }
    wrong
}

/// The narrowest width that holds qmin..=qmax, without a sign bit if none is negative.
fn width(q: &Quant) -> u32 {
    let signed = crate::bounds::bits_needed(q.qmin, q.qmax);
    if q.qmin >= 0 { (signed - 1).max(1) } else { signed }
}

/// A number of values that an average by shifts may divide by although it is no power of two; then it multiplies.
fn multiplied_average(g: &Graph, node: &Node) -> Option<usize> {
    let Op::QAvgPool(q) = &node.op else { return None };
    let window = match &q.pool {
        Some(pool) => pool.kernel.clone(),
        None => g.ty(node.input(0)?).shape.0.iter().skip(2).map(crate::Dim::known).collect::<Option<_>>()?,
    };
    // Padding and partial windows cut taps off, along each axis for itself.
    let cut = q.pool.as_ref().is_some_and(|p| (!p.count_include_pad && p.pads.iter().any(|p| *p > 0)) || p.ceil_mode);
    let along = |size: usize| if cut { (1..=size).collect() } else { vec![size] };
    let counts = window.iter().map(|size| along(*size).into_iter().find(|n| !n.is_power_of_two()));
    let whole = window.iter().try_fold(1usize, |n, size| n.checked_mul(*size));
    let shifts = q.rescale.method == Method::Shift;
    counts.flatten().next().filter(|_| shifts).map(|part| whole.filter(|n| !n.is_power_of_two()).unwrap_or(part))
}

/// Whether a node is a float operator, other than one at the graph's border.
fn computes_floats(g: &Graph, node: &Node) -> bool {
    let float = |v: ValueId| g.ty(v).dtype.is_float();
    let reads_inputs = || node.operands().all(|v| g.value(v).def == Def::Input);
    let gives_outputs = || node.outputs.iter().all(|v| g.is_output(*v));
    let border = (matches!(node.op, Op::Quantize { .. }) && reads_inputs())
        || (matches!(node.op, Op::Dequantize) && gives_outputs());
    !border && node.operands().chain(node.outputs.iter().copied()).any(float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{apply, apply_as};
    use crate::op::{MatMul, Rescale, Unary};
    use crate::{DType, Shape, Type};
    use lowbit_arithmetic::Rounding;

    /// x -> Quantize -> MatMul -> Requantize(method) -> Dequantize (-> Exp) -> y
    fn program(method: Method, zero: i32, island: bool) -> Graph {
        let mut g = Graph::new("g");
        let int8 = || Type::quantized(DType::I8, Shape::default(), Quant::per_tensor(0.5, zero, -128, 127));
        let x = g.add_input("x", Type::f32(vec![2, 2]));
        let rounding = Rounding::HalfEven;
        let q = apply_as(&mut g, "q", Op::Quantize { rounding }, &[Some(x)], int8()).unwrap();
        let acc = apply(&mut g, "acc", Op::MatMul(MatMul::default()), &[Some(q), Some(q)]).unwrap();
        let r = apply_as(&mut g, "r", Op::Requantize(Rescale { method, rounding }), &[Some(acc)], int8()).unwrap();
        let mut y = apply(&mut g, "d", Op::Dequantize, &[Some(r)]).unwrap();
        if island {
            y = apply(&mut g, "exp", Op::Unary(Unary::Exp), &[Some(y)]).unwrap();
        }
        g.outputs.push(y);
        g
    }

    #[test]
    fn programs_within_the_constraints_pass() {
        check(&program(Method::Float32, 3, true), find("host").unwrap()).unwrap();
        check(&program(Method::Fixed, 3, false), find("integer-only").unwrap()).unwrap();
        check(&program(Method::Shift, 0, false), find("shift-only").unwrap()).unwrap();
    }

    #[test]
    fn all_violations_are_listed() {
        let narrow = Hardware { accumulator_bits: 24, operand_bits: 4, ..*find("shift-only").unwrap() };
        let error = check(&program(Method::Float32, 3, true), &narrow).unwrap_err().to_string();
        for part in [
            "node 'acc': the operand 'q' has 8 bits, 4 are allowed",
            "node 'acc': the accumulator has 32 bits, 24 are allowed",
            "node 'r': it rescales by the method float32, allowed are shift",
            "node 'd': Dequantize computes floats",
            "node 'exp': Exp computes floats",
            "value 'q': it has a zero point other than 0",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
        for remedy in ["input.bits and weight.bits of at most 4", "accumulator_bits = 24", "requantize = 'shift'"] {
            assert!(error.contains(remedy), "{remedy} in {error}");
        }
        assert!(!error.contains("node 'q'"), "the quantization of an input is the host's: {error}");
    }

    #[test]
    fn names_are_suggested() {
        assert!(find("integer_only").unwrap_err().to_string().contains("did you mean 'integer-only'"));
    }
}
