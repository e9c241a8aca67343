//! Sessions under operators that fail, and inputs that do not fit.

use lowbit_ir::op::CustomId;
use lowbit_ir::{CustomOp, Customs, DType, Error, Op, Quant, Result, Tensor, Type};
use lowbit_runtime::memory::Aligned;
use lowbit_runtime::program::Reference;
use lowbit_runtime::{Isa, Kind, Parts, Place, Port, Program, Session, Step};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Gives its input back, unless it begins with a number that says otherwise.
struct Moody;

impl CustomOp for Moody {
    fn name(&self) -> &str {
        "moody"
    }
    fn infer(&self, inputs: &[&Type]) -> Result<Vec<Type>> {
        Ok(inputs.iter().map(|ty| (*ty).clone()).collect())
    }
    fn run(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        match inputs[0].f32s()?[0] {
            1.0 => panic!("one is too much"),
            2.0 => Err(Error::new("two is refused")),
            _ => Ok(vec![inputs[0].clone()]),
        }
    }
}

fn scalar() -> Isa {
    Isa::named("scalar").unwrap()
}

/// x -> moody -> copy -> y.
/// A program that does nothing, for others to differ from.
fn empty() -> Parts {
    Parts {
        name: "p".into(),
        isa: scalar(),
        steps: Vec::new(),
        arena: 64,
        consts: Aligned::zeroed(64).unwrap(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        customs: Customs::default(),
        max_memory: usize::MAX,
    }
}

fn moody() -> Arc<Program> {
    let ty = Type::f32(vec![4]);
    let port = |name: &str, at: usize| Port { name: name.into(), ty: ty.clone(), place: Place::Arena(at) };
    let reference = Reference {
        op: Op::Custom(CustomId("moody".into())),
        inputs: vec![Some((Place::Arena(0), ty.clone()))],
        outputs: vec![(Place::Arena(512), ty.clone())],
    };
    let (x, y) = (Place::Arena(512), Place::Arena(1024));
    let steps = vec![
        Step { name: "mood".into(), kind: Kind::Reference(Box::new(reference)), macs: 0 },
        Step {
            name: "copy".into(),
            kind: Kind::CopyRows { x, y, rows: 1, bytes: 16, x_stride: 16, y_stride: 16 },
            macs: 0,
        },
    ];
    let customs = Customs::default().with(Arc::new(Moody)).unwrap();
    let (inputs, outputs) = (vec![port("x", 0)], vec![port("y", 1024)]);
    Program::new(Parts { name: "moody".into(), steps, arena: 2048, inputs, outputs, customs, ..empty() }).unwrap()
}

#[test]
fn an_operator_that_panics_is_an_error_and_the_session_lives() {
    for threads in 1..=3 {
        let mut session = Session::with_threads(moody(), threads).unwrap();
        for _ in 0..20 {
            let mut run = |first: f32| session.run(&[Tensor::from_f32(&[4], vec![first, 5.0, 6.0, 7.0]).unwrap()]);
            assert_eq!(*run(0.0).unwrap()[0].f32s().unwrap(), [0.0, 5.0, 6.0, 7.0]);
            let panicked = run(1.0).unwrap_err().to_string();
            assert!(panicked.contains("node 'mood': the operator panicked: one is too much"), "{panicked}");
            let refused = run(2.0).unwrap_err().to_string();
            assert!(refused.contains("two is refused"), "{refused}");
        }
    }
}

#[test]
fn a_run_ends_between_steps_when_it_is_told_to() {
    let asked = AtomicUsize::new(0);
    for threads in 1..4 {
        let mut session = Session::with_threads(moody(), threads).unwrap();
        asked.store(0, Ordering::Relaxed);
        let after_one = || match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(Error::new("enough")),
        };
        assert_eq!(session.execute_while(&after_one).unwrap_err().message(), "enough");
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert!(session.execute_while(&|| panic!("no answer")).unwrap_err().to_string().contains("no answer"));
        session.execute_while(&|| Ok(())).unwrap();
    }
}

#[test]
fn integers_outside_an_inputs_range_are_refused() {
    let ty = Type::quantized(DType::U8, vec![4], Quant::per_tensor(0.5, 3, 3, 10));
    let port = Port { name: "x".into(), ty: ty.clone(), place: Place::Arena(0) };
    let program = Program::new(Parts { inputs: vec![port.clone()], outputs: vec![port], ..empty() });
    let mut session = Session::new(program.unwrap()).unwrap();
    let mut run = |ty: Type, data: &[i64]| session.run(&[Tensor::from_ints(ty, data).unwrap()]);
    assert!(run(ty.clone(), &[3, 4, 5, 10]).is_ok());
    let plain = Type::plain(DType::U8, vec![4]);
    assert!(run(plain.clone(), &[3, 4, 5, 10]).is_ok());
    let error = run(plain, &[3, 4, 11, 10]).unwrap_err().to_string();
    assert!(error.contains("value 'x': expected integers in 3..10, found 11"), "{error}");
    let other = Type::quantized(DType::U8, vec![4], Quant::per_tensor(0.25, 3, 3, 10));
    assert!(run(other, &[3, 4, 5, 10]).is_err());
}
