//! Every executor gives the interpreter's bits: each instruction set this machine has, on one to four threads.

mod suite;

use lowbit::engine::Compiled;
use lowbit_compile::Target;
use lowbit_ir::infer::{apply, apply_as};
use lowbit_ir::interp::Interpreter;
use lowbit_ir::op::{CustomId, MatMul};
use lowbit_ir::{CustomOp, Customs, DType, Engine, Error, Graph, Op, Quant, Result, Tensor, Type};
use lowbit_runtime::isa::{cpu_name, detect};
use lowbit_runtime::{Isa, Kind};

#[test]
fn every_executor_gives_the_same_bits() {
    let cases = suite::cases();
    let isas = Isa::available();
    println!("on {}: {:?}", cpu_name(), isas.iter().map(|i| i.name).collect::<Vec<_>>());
    for (name, needs) in lowbit_kernels::isa::SETS {
        if !detect().has(*needs) {
            println!("SKIPPED: this CPU lacks the instruction set {name}");
        }
    }
    let engines: Vec<Compiled> = isas
        .iter()
        .flat_map(|isa| {
            (1..=4).map(|threads| {
                Compiled::new(Target::isa(isa.name).unwrap().customs(suite::customs()), threads).unwrap()
            })
        })
        .collect();
    let mut wrong = Vec::new();
    for case in &cases {
        lowbit_ir::verify::verify_with(&case.graph, &suite::customs()).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let expected = Interpreter { customs: suite::customs(), ..Interpreter::default() }
            .load(&case.graph, &[])
            .unwrap()
            .run(&case.inputs);
        let expected = expected.unwrap_or_else(|e| panic!("{}: {e}", case.name)).outputs;
        for engine in &engines {
            let found = engine.load(&case.graph, &[]).and_then(|mut run| run.run(&case.inputs));
            match found {
                Err(e) => wrong.push(format!("{} on {}: {e}", case.name, engine.name())),
                Ok(found) => {
                    for (v, (a, b)) in case.graph.outputs.iter().zip(expected.iter().zip(&found.outputs)) {
                        if let Some(difference) = difference(a, b) {
                            let value = &case.graph.value(*v).name;
                            wrong.push(format!("{} '{value}' on {}: {difference}", case.name, engine.name()));
                        }
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases differ:\n{}",
        wrong.len(),
        cases.len(),
        wrong[..wrong.len().min(40)].join("\n")
    );
}

/// The interpreter is right whatever it runs, so only this shows that a kernel is there.
#[test]
fn what_has_kernels_is_not_left_to_the_interpreter() {
    let cases = suite::cases();
    let cases = cases.iter().filter(|case| case.name.starts_with(suite::KERNELS));
    let mut left = Vec::new();
    let mut count = 0;
    for case in cases {
        count += 1;
        for isa in Isa::available() {
            let program = lowbit_compile::compile(&case.graph, &Target::isa(isa.name).unwrap()).unwrap();
            left.extend(program.reference_steps().map(|step| format!("{} on {}: {}", case.name, isa.name, step.name)));
        }
    }
    assert!(count > 40);
    assert!(left.is_empty(), "{}", left.join("\n"));
}

/// Neither a zero point of weights nor a rounding makes a step of its own of what follows a layer.
#[test]
fn layers_and_their_requantization_are_one_step() {
    let cases: Vec<_> = suite::cases().into_iter().filter(|case| case.name.starts_with(suite::fused::FUSED)).collect();
    assert!(cases.len() > 200);
    for case in cases {
        for isa in Isa::available() {
            let program = lowbit_compile::compile(&case.graph, &Target::isa(isa.name).unwrap()).unwrap();
            let names: Vec<&str> = program.steps().iter().map(|s| s.name.as_str()).collect();
            let last = if case.name.ends_with("true") { "acc + y + sum" } else { "acc + y" };
            assert!(names.contains(&last), "{} on {}: {names:?}", case.name, isa.name);
            let bytes = |kind: &Kind| !matches!(kind, Kind::QGemm8W16(_) | Kind::QDw8W16(_));
            assert!(program.steps().iter().all(|s| bytes(&s.kind)), "{} on {}", case.name, isa.name);
        }
    }
}

/// No function of elements behind a layer makes a step of its own, nor does one behind another.
#[test]
fn functions_of_elements_are_one_step() {
    let cases: Vec<_> = suite::cases().into_iter().filter(|case| case.name.starts_with(suite::links::LINKS)).collect();
    assert!(cases.len() > 15);
    for case in cases {
        for isa in Isa::available() {
            let program = lowbit_compile::compile(&case.graph, &Target::isa(isa.name).unwrap()).unwrap();
            let alone = program.steps().iter().find(|s| match &s.kind {
                Kind::Zip(_) | Kind::DequantizeAcc { .. } | Kind::Reference(_) => true,
                Kind::Map(s) => !matches!(s.f, lowbit_runtime::program::MapFn::Quantize8(..)),
                _ => false,
            });
            assert!(alone.is_none(), "{} on {}: {}", case.name, isa.name, alone.unwrap().name);
        }
    }
}

/// The first element that differs, NaNs being equal whatever their payload.
fn difference(a: &Tensor, b: &Tensor) -> Option<String> {
    if a.ty() != b.ty() {
        return Some(format!("expected {}, found {}", a.ty(), b.ty()));
    }
    if a.bytes() == b.bytes() {
        return None;
    }
    match a.f32s() {
        Ok(x) => x.iter().zip(b.f32s().unwrap().iter()).enumerate().find_map(|(i, (x, y))| {
            let same = x.to_bits() == y.to_bits() || (x.is_nan() && y.is_nan());
            (!same).then(|| format!("element {i}: expected {x:?}, found {y:?}"))
        }),
        Err(_) => {
            let (x, y) = (a.ints().unwrap(), b.ints().unwrap());
            let i = x.iter().zip(&y).position(|(x, y)| x != y)?;
            let count = x.iter().zip(&y).filter(|(x, y)| x != y).count();
            Some(format!("element {i}: expected {}, found {} ({count} of {})", x[i], y[i], x.len()))
        }
    }
}

#[test]
fn integer_products_of_activations_have_a_kernel() {
    let cases: Vec<_> = suite::cases().into_iter().filter(|c| c.name.starts_with("product.")).collect();
    assert!(cases.len() > 50);
    for case in cases {
        let program = lowbit_compile::compile(&case.graph, &Target::isa("scalar").unwrap()).unwrap();
        let reference: Vec<&str> = program.reference_steps().map(|s| s.name.as_str()).collect();
        assert!(!reference.contains(&"acc"), "{}: {reference:?}", case.name);
        assert!(program.steps().iter().any(|s| s.name.starts_with("acc")), "{}", case.name);
    }
}

fn byte(dims: &[usize], qmax: i64) -> Type {
    Type::quantized(DType::U8, dims.to_vec(), Quant::per_tensor(1.0, 0, 0, qmax))
}

/// u8 -> f -> u8 that says it is in 0..1, multiplied with so many weights that all in 0..1 fit 32 bits, and 255 do not.
fn claims(f: impl FnOnce(&mut Graph, Type) -> lowbit_ir::ValueId) -> Graph {
    let k = 70_000;
    let mut g = Graph::new("g");
    let narrow = f(&mut g, byte(&[1, k], 1));
    let ty = Type::quantized(DType::I8, vec![k, 1], Quant::per_tensor(1.0, 0, -128, 127));
    let w = g.add_const("w", Tensor::from_ints(ty, &vec![127; k]).unwrap());
    let y = apply(&mut g, "y", Op::MatMul(MatMul::default()), &[Some(narrow), Some(w)]).unwrap();
    g.outputs.push(y);
    g
}

/// That the accumulator fits rests on the range of its operand, so nobody may leave it.
#[test]
fn values_outside_of_their_declared_range_are_refused_by_every_executor() {
    let k = 70_000;
    let input = Tensor::from_ints(byte(&[1, k], 255), &vec![255; k]).unwrap();
    let refused = |what: &str, g: &Graph, customs: Customs, input: &Tensor| {
        let interpreter = Interpreter { customs: customs.clone(), ..Interpreter::default() };
        let mut engines: Vec<(String, Box<dyn Engine>)> = vec![("interpreter".into(), Box::new(interpreter))];
        for isa in Isa::available() {
            let engine = Compiled::new(Target::isa(isa.name).unwrap().customs(customs.clone()), 1).unwrap();
            engines.push((isa.name.into(), Box::new(engine)));
        }
        for (name, engine) in engines {
            let result = engine.load(g, &[]).and_then(|mut run| run.run(std::slice::from_ref(input)));
            let error = result.expect_err(&format!("{what} on {name}")).to_string();
            // A compiler knows that the table is wrong; the interpreter sees what it gives.
            assert!(error.contains("255") && (error.contains("0..1")), "{what} on {name}: {error}");
        }
    };
    let table = claims(|g, narrow| {
        let x = g.add_input("x", byte(&[1, k], 255));
        let entries = Tensor::from_ints(Type::plain(DType::U8, vec![256]), &[255; 256]).unwrap();
        let t = g.add_const("t", entries);
        apply_as(g, "look", Op::Table, &[Some(x), Some(t)], narrow).unwrap()
    });
    assert!(lowbit_ir::verify::verify(&table).is_err());
    refused("a table", &table, Customs::default(), &input);

    let custom = claims(|g, narrow| {
        let x = g.add_input("x", byte(&[1, k], 255));
        let node = g.add_node("own", Op::Custom(CustomId("boast".into())), vec![Some(x)], &[("own", narrow)]);
        g.node(node).outputs[0]
    });
    refused("a custom operator", &custom, Customs::default().with(std::sync::Arc::new(Boast)).unwrap(), &input);

    let bare = claims(|g, narrow| g.add_input("x", narrow));
    let plain = Tensor::from_ints(Type::plain(DType::U8, vec![1, k]), &vec![255; k]).unwrap();
    refused("an input", &bare, Customs::default(), &plain);
}

/// Says that its result is in 0..1, and gives its input.
struct Boast;

impl CustomOp for Boast {
    fn name(&self) -> &str {
        "boast"
    }
    fn infer(&self, inputs: &[&Type]) -> Result<Vec<Type>> {
        Ok(inputs.iter().map(|ty| byte(&ty.shape.dims().unwrap_or_default(), 1)).collect())
    }
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let input = inputs.first().ok_or_else(|| Error::new("expected an input"))?;
        Ok(vec![input.with_quant(byte(&[], 1).quant)])
    }
}
