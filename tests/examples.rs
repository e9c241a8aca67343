//! The numbered examples run: each is a program of its own, and checks what it says.

#[path = "../examples/06_custom_op.rs"]
mod custom_op;
#[path = "../examples/02_observer.rs"]
mod observer;
#[path = "../examples/03_pass.rs"]
mod pass;
#[path = "../examples/05_realize.rs"]
mod realize;
#[path = "../examples/04_refinement.rs"]
mod refinement;
#[path = "../examples/01_rule.rs"]
mod rule;

#[test]
fn every_example_runs() {
    rule::main().unwrap();
    observer::main().unwrap();
    pass::main().unwrap();
    refinement::main().unwrap();
    realize::main().unwrap();
    custom_op::main().unwrap();
}

#[test]
fn every_example_is_run() {
    let own = include_str!("examples.rs");
    for entry in std::fs::read_dir("examples").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(own.contains(&format!("examples/{name}")), "{name}");
    }
}
