//! Golden graphs of the compiler's passes.

use lowbit_compile::PASSES;
use lowbit_compile::passes::Context;
use lowbit_ir::golden::check_dir;
use lowbit_ir::{Error, Graph, Result};
use std::path::Path;

fn run(name: &str, g: &mut Graph) -> Result<()> {
    let pass =
        PASSES.iter().find(|p| p.name == name).ok_or_else(|| Error::new(format!("no pass is named '{name}'")))?;
    (pass.run)(g, &mut Context::default()).map(|_| ())
}

#[test]
fn passes_rewrite_as_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let checked = check_dir(
        &dir,
        &[
            ("absorb-relu", |g| run("absorb-relu", g)),
            ("accumulators", |g| run("accumulators", g)),
            ("fold", |g| run("fold", g)),
            ("turn-operand", |g| run("turn-operand", g)),
            ("unsign", |g| run("unsign", g)),
        ],
    );
    assert_eq!(checked.unwrap(), 8);
}
