//! Graphs as text, before and after each pass and stage: `tests/golden/STAGE/*.ir`, see [`lowbit_ir::golden`].

use lowbit_ir::golden::{Named, check_dir};
use lowbit_ir::interp::Interpreter;
use lowbit_ir::{Graph, Result, Tensor};
use lowbit_quantize::config::Output;
use lowbit_quantize::prepare::PREPARE;
use lowbit_quantize::{Config, Options, Prepare, Realizers, Spec, annotate, calibrate, realize};

fn prepare_pass<const I: usize>(g: &mut Graph) -> Result<()> {
    (PREPARE[I].run)(g, &mut Prepare::default())?;
    g.sweep();
    Ok(())
}

#[test]
fn prepare_passes() {
    let passes: [Named; 12] = [
        (PREPARE[0].name, prepare_pass::<0>),
        (PREPARE[1].name, prepare_pass::<1>),
        (PREPARE[2].name, prepare_pass::<2>),
        (PREPARE[3].name, prepare_pass::<3>),
        (PREPARE[4].name, prepare_pass::<4>),
        (PREPARE[5].name, prepare_pass::<5>),
        (PREPARE[6].name, prepare_pass::<6>),
        (PREPARE[7].name, prepare_pass::<7>),
        (PREPARE[8].name, prepare_pass::<8>),
        (PREPARE[9].name, prepare_pass::<9>),
        (PREPARE[10].name, prepare_pass::<10>),
        (PREPARE[11].name, prepare_pass::<11>),
    ];
    assert_eq!(passes.len(), PREPARE.len(), "every pass has its golden files");
    let count = check_dir("tests/golden/prepare", &passes).unwrap_or_else(|e| panic!("{e}"));
    assert!(count >= PREPARE.len(), "{count} files for {} passes", PREPARE.len());
}

fn annotate_with(g: &mut Graph, config: &Config) -> Result<()> {
    annotate(g, &Options { config: config.clone(), ..Options::default() })?;
    g.sweep();
    Ok(())
}

#[test]
fn annotate_rules() {
    let passes: [Named; 2] = [
        ("annotate", |g| annotate_with(g, &Config::default())),
        ("annotate-narrow", |g| annotate_with(g, &Config { output: Output::Narrow, ..Config::default() })),
    ];
    check_dir("tests/golden/annotate", &passes).unwrap_or_else(|e| panic!("{e}"));
}

/// Calibrates on one sample that counts from -1 to 1.
fn calibrate_with(g: &mut Graph, config: &Config) -> Result<()> {
    let options = Options { config: config.clone(), ..Options::default() };
    annotate(g, &options)?;
    let ramp = |dims: &[usize]| {
        let n: usize = dims.iter().product();
        Tensor::from_f32(dims, (0..n).map(|i| i as f32 / (n - 1).max(1) as f32 * 2.0 - 1.0).collect())
    };
    let sample = g.inputs.iter().map(|v| ramp(&g.ty(*v).shape.require()?)).collect::<Result<Vec<_>>>()?;
    calibrate(g, &options, &Interpreter::default(), &vec![sample])?;
    g.sweep();
    Ok(())
}

#[test]
fn calibrated_graphs() {
    let passes: [Named; 2] = [
        ("calibrate", |g| {
            calibrate_with(g, &Config { input: Spec::default().observer("minmax"), ..Config::default() })
        }),
        ("calibrate-symmetric", |g| {
            let input = Spec::default().signed().symmetric().observer("minmax");
            calibrate_with(g, &Config { input, ..Config::default() })
        }),
    ];
    check_dir("tests/golden/calibrate", &passes).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn realized_operators() {
    let passes: [Named; 1] = [("realize", |g| realize(g, &Config::default(), &Realizers::standard()).map(|_| ()))];
    check_dir("tests/golden/realize", &passes).unwrap_or_else(|e| panic!("{e}"));
}
