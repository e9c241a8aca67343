//! Sessions made from a shared program, whose inputs go by name.

use crate::program::Program;
use crate::session::Session;
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{Error, Result, Tensor};
use std::borrow::Borrow;
use std::sync::Arc;

/// A session that takes its inputs by name.
///
/// It owns one arena, which it takes when it first runs: a machine without the memory, or without the instructions that
/// the program was compiled for, is an error of that run.
#[derive(Debug)]
pub struct NamedSession {
    program: Arc<Program>,
    threads: usize,
    session: Option<Session>,
}

impl Program {
    /// A session on the calling thread alone; [`NamedSession::threads`] gives it more.
    pub fn session(self: &Arc<Self>) -> NamedSession {
        NamedSession { program: self.clone(), threads: 1, session: None }
    }
}

impl NamedSession {
    /// The same on this many threads, the calling one among them.
    #[must_use]
    pub fn threads(self, threads: usize) -> NamedSession {
        NamedSession { threads, session: None, ..self }
    }

    /// The program it runs.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Runs on an input of every name, in any order; returns tensors in the order of the program's outputs.
    pub fn run<N: AsRef<str>, T: Borrow<Tensor>>(
        &mut self,
        inputs: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Vec<Tensor>> {
        let ordered = in_order(&self.program, inputs)?;
        self.run_in_order(&ordered)
    }

    /// Runs on tensors in the order of the program's inputs.
    pub fn run_in_order(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        match &mut self.session {
            Some(session) => session.run(inputs),
            empty => empty.insert(Session::with_threads(self.program.clone(), self.threads)?).run(inputs),
        }
    }
}

/// The tensors in the order of the program's inputs. They share their bytes with those given.
fn in_order<N: AsRef<str>, T: Borrow<Tensor>>(
    program: &Program,
    inputs: impl IntoIterator<Item = (N, T)>,
) -> Result<Vec<Tensor>> {
    let names = || program.inputs().iter().map(|port| port.name.as_str());
    let listed = |e: Error| {
        let ports: Vec<String> = program.inputs().iter().map(|port| format!("'{}' {}", port.name, port.ty)).collect();
        match ports.is_empty() {
            true => e.hint("the program has no inputs"),
            false => e.hint(format!("the inputs are {}", ports.join(", "))),
        }
    };
    let mut slots: Vec<Option<Tensor>> = vec![None; program.inputs().len()];
    for (name, tensor) in inputs {
        let name = name.as_ref();
        let Some(slot) = names().position(|n| n == name).and_then(|place| slots.get_mut(place)) else {
            return Err(listed(Error::new(format!("no input is named '{name}'{}", did_you_mean(name, names())))));
        };
        if slot.replace(tensor.borrow().clone()).is_some() {
            return Err(listed(Error::new(format!("input '{name}' is given twice"))));
        }
    }
    let missing: Vec<&str> = names().zip(&slots).filter(|(_, slot)| slot.is_none()).map(|(name, _)| name).collect();
    match missing.is_empty() {
        true => Ok(slots.into_iter().flatten().collect()),
        false => {
            let missing = missing.join("', '");
            Err(listed(Error::new(format!("expected a tensor for every input, found none for '{missing}'"))))
        }
    }
}
