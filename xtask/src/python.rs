//! Python: the environments that tests and measurements make for themselves, and the tests of the Python package.
//!
//! `PYTHON` names the Python that makes them; `python3` unless it is set. They lie below the build folder, and are made
//! again when the list of their packages changes. The package is also tested by the oldest Python that it takes, if that is
//! on the machine.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::Result;

/// Where the package, its examples and its tests are.
const PACKAGE: &str = "crates/python";

/// The oldest Python that takes the package.
const OLDEST: (u32, u32) = (3, 9);

/// The Python that runs scripts and makes environments.
pub fn python() -> Command {
    Command::new(env::var_os("PYTHON").unwrap_or_else(|| "python3".into()))
}

/// What a command printed; an error if it failed.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let out = command.output().map_err(|e| format!("cannot start {command:?}: {e}"))?;
    match out.status.success() {
        true => Ok(out.stdout),
        false => Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&out.stderr))),
    }
}

/// The Python of an environment with these packages, made if it is not there with just these.
pub fn environment(folder: &Path, packages: &Path) -> Result<PathBuf> {
    environment_of(&mut python(), folder, packages)
}

/// The same, made by this Python.
fn environment_of(python: &mut Command, folder: &Path, packages: &Path) -> Result<PathBuf> {
    let wanted = fs::read_to_string(packages).map_err(|e| format!("{}: {e}", packages.display()))?;
    let (python_path, stamp) = (folder.join("bin/python"), folder.join("packages.txt"));
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(python_path);
    }
    eprintln!("making an environment for {}", packages.display());
    output(python.args(["-m", "venv", "--clear"]).arg(folder))?;
    output(Command::new(&python_path).args(["-m", "pip", "install", "--quiet", "-r"]).arg(packages))?;
    fs::write(&stamp, wanted).map_err(|e| format!("{}: {e}", stamp.display()))?;
    Ok(python_path)
}

/// Major and minor version.
fn version(python: &mut Command) -> Result<(u32, u32)> {
    let code = "import sys; print(sys.version_info[0], sys.version_info[1])";
    let told = String::from_utf8_lossy(&output(python.args(["-c", code]))?).into_owned();
    let mut numbers = told.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(format!("Python does not say its version, but `{}`", told.trim())),
    }
}

/// The wheel of the package, for other environments than the one that builds it.
fn wheel(root: &Path, python: &Path) -> Result<PathBuf> {
    println!("pip wheel . (a release build)");
    let (start, folder) = (Instant::now(), root.join("target/python/wheel"));
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    }
    let mut command = Command::new(python);
    // What builds it is in the environment, so that nothing is fetched.
    command.args(["-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--wheel-dir"]);
    command.arg(&folder).arg(".").current_dir(root).env("PATH", path_with(python)?);
    output(&mut command)?;
    println!("pip wheel .: ok in {:.0} s", start.elapsed().as_secs_f64());
    let mut files = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    match files.next() {
        Some(Ok(file)) => Ok(file.path()),
        Some(Err(_)) | None => Err(format!("pip made no wheel in {}", folder.display())),
    }
}

/// Installs the package as a user does, into an environment that has what building it takes.
fn install_here(root: &Path, python: &Path) -> Result<()> {
    println!("pip install . (a release build)");
    let start = Instant::now();
    let mut command = Command::new(python);
    command.args(["-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--force-reinstall", "."]);
    command.current_dir(root).env("PATH", path_with(python)?);
    output(&mut command)?;
    println!("pip install .: ok in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Installs a wheel, whose dependencies the environment has.
fn install(python: &Path, wheel: &Path) -> Result<()> {
    let arguments = ["-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall"];
    output(Command::new(python).args(arguments).arg(wheel)).map(|_| ())
}

/// The oldest Python that takes the package, if it is here: on the path, or where pyenv keeps those it made.
fn oldest() -> Option<Command> {
    let name = format!("python{}.{}", OLDEST.0, OLDEST.1);
    let pyenv = env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".pyenv")));
    let kept = pyenv.and_then(|pyenv| fs::read_dir(pyenv.join("versions")).ok()).into_iter().flatten().flatten();
    let kept = kept.map(|version| version.path().join("bin").join(&name)).filter(|python| python.exists());
    let mut all = std::iter::once(PathBuf::from(&name)).chain(kept);
    all.find_map(|python| version(&mut Command::new(&python)).is_ok_and(|v| v == OLDEST).then(|| Command::new(python)))
}

/// The path to programs with those of an environment first.
fn path_with(python: &Path) -> Result<OsString> {
    let own = python.parent().map(Path::to_path_buf);
    let others = env::var_os("PATH").unwrap_or_default();
    env::join_paths(own.into_iter().chain(env::split_paths(&others))).map_err(|e| format!("PATH: {e}"))
}

/// Runs a module of the environment; true if it is content.
fn run(root: &Path, python: &Path, module: &str, arguments: &[&str], shared: Option<&Path>) -> Result<bool> {
    println!("python -m {module} {}", arguments.join(" "));
    let mut command = Command::new(python);
    command.args(["-m", module]).args(arguments).current_dir(root).env("PATH", path_with(python)?);
    match shared {
        Some(folder) => command.env("LOWBIT_SHARED", folder),
        None => command.env_remove("LOWBIT_SHARED"),
    };
    let status = command.status().map_err(|e| format!("cannot start {}: {e}", python.display()))?;
    Ok(status.success())
}

/// The tests of the Python package: its types against its stubs, its examples, its documents; true if all pass.
pub fn test(root: &Path, shared: Option<&Path>) -> Result<bool> {
    let (major, minor) = version(&mut python())
        .map_err(|e| format!("the Python package is tested by Python 3.9 or newer (PYTHON names it): {e}"))?;
    if (major, minor) < OLDEST {
        return Err(format!(
            "the Python package takes Python 3.9 or newer, found {major}.{minor} (PYTHON names another)"
        ));
    }
    let folder = |(major, minor): (u32, u32)| root.join("target/python").join(format!("{major}.{minor}"));
    let packages = root.join(PACKAGE).join("tests/packages.txt");
    let python = environment(&folder((major, minor)), &packages)?;
    install_here(root, &python)?;
    let [sources, examples, tests] = ["python/lowbit", "examples", "tests"].map(|part| format!("{PACKAGE}/{part}"));
    let mut passed = true;
    for (module, arguments) in [
        ("mypy", &["--strict", "--exclude", "peers/", &sources, &examples, &tests][..]),
        ("mypy.stubtest", &["lowbit", "--concise"]),
        ("pytest", &["-q", "-rs", "--durations=5"]),
    ] {
        let content = run(root, &python, module, arguments, shared)?;
        println!("python -m {module}: {}", if content { "passed" } else { "FAILED" });
        passed &= content;
    }
    let name = format!("Python {}.{}", OLDEST.0, OLDEST.1);
    match oldest().filter(|_| (major, minor) != OLDEST) {
        Some(mut oldest) => {
            let wheel = wheel(root, &python)?;
            let python = environment_of(&mut oldest, &folder(OLDEST), &packages)?;
            install(&python, &wheel)?;
            let content = run(root, &python, "pytest", &["-q", &tests], shared)?;
            println!("{name}, pytest: {}", if content { "passed" } else { "FAILED" });
            passed &= content;
        }
        None if (major, minor) == OLDEST => {}
        None => println!("{name}: SKIPPED, it is not on this machine: THE OLDEST PYTHON IS NOT TESTED"),
    }
    Ok(passed)
}

/// The tests that need packages of other tools, a file and a list of packages each; true if all pass.
pub fn test_peers(root: &Path, shared: Option<&Path>) -> Result<bool> {
    let version = version(&mut python())?;
    let folder = root.join(PACKAGE).join("tests/peers");
    let (mut passed, mut built) = (true, None);
    // MXNet was left before Python 3.12 came.
    for (name, newest) in [("onnx", (3, u32::MAX)), ("mxnet", (3, 11))] {
        if version > newest {
            println!(
                "peers, {name}: SKIPPED, since its packages need Python {}.{} (PYTHON names one)",
                newest.0, newest.1
            );
            continue;
        }
        let packages = folder.join(format!("{name}.txt"));
        let python = environment(&root.join("target/python").join(name), &packages)?;
        let wheel = match &built {
            Some(wheel) => wheel,
            None => built.insert(wheel(root, &python)?),
        };
        install(&python, wheel)?;
        let file = format!("{PACKAGE}/tests/peers/test_{name}.py");
        let content = run(root, &python, "pytest", &["-q", "-rs", "-p", "no:warnings", &file], shared)?;
        println!("peers, {name}: {}", if content { "passed" } else { "FAILED" });
        passed &= content;
    }
    Ok(passed)
}
