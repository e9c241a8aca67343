//! The graphs in `golden/`, read, checked and printed; `UPDATE=1` writes what must come out anew.

use lowbit_ir::golden::check_dir;
use lowbit_ir::{Customs, infer, verify};

#[test]
fn golden_files() {
    let checked = check_dir(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"),
        &[
            ("print", |_| Ok(())),
            ("verify", |g| verify::verify(g)),
            ("sort", |g| g.sort()),
            ("refresh", |g| infer::refresh(g, &Customs::default())),
            ("sweep", |g| {
                g.sweep();
                Ok(())
            }),
            ("bind-batch-2", |g| {
                *g = infer::bind(g, &[("x", vec![2, 3, 8, 8])])?;
                Ok(())
            }),
        ],
    );
    assert!(checked.unwrap_or_else(|e| panic!("{e}")) >= 8);
}

#[test]
fn a_directory_without_golden_files_is_an_error() {
    let e = check_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src"), &[]).unwrap_err().to_string();
    assert!(e.contains("found none"), "{e}");
}
