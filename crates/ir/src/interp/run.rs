//! Running whole graphs.

use super::{eval, workspace};
use crate::engine::check_float_mode;
use crate::infer::{Bindings, bind_dims, infer};
use crate::{Customs, Def, Engine, Error, Graph, Node, NodeId, Outputs, Result, Run, Tensor, Type, ValueId, memory};

/// The engine that runs a graph node by node, in order, as it stands.
#[derive(Debug, Clone)]
pub struct Interpreter {
    /// What [`Op::Custom`](crate::Op::Custom) refers to.
    pub customs: Customs,
    /// Bytes that the values of a run may take at a time.
    pub max_memory: usize,
}

impl Default for Interpreter {
    fn default() -> Self {
        Interpreter { customs: Customs::default(), max_memory: memory::MAX_MEMORY }
    }
}

impl Engine for Interpreter {
    fn name(&self) -> String {
        "interpreter".into()
    }

    fn load(&self, graph: &Graph, taps: &[ValueId]) -> Result<Box<dyn Run>> {
        check_float_mode()?;
        if let Some(bad) = taps.iter().find(|v| !graph.has_value(**v)) {
            return Err(Error::new(format!("expected taps that are values of the graph, found {bad:?}")));
        }
        let steps = steps(graph, taps);
        let engine = self.clone();
        Ok(Box::new(Loaded { graph: graph.clone(), engine, taps: taps.to_vec(), steps }))
    }
}

struct Loaded {
    graph: Graph,
    engine: Interpreter,
    taps: Vec<ValueId>,
    steps: Vec<Step>,
}

/// One node, and the values that nothing reads after it.
struct Step {
    node: NodeId,
    last: Vec<ValueId>,
}

fn steps(graph: &Graph, taps: &[ValueId]) -> Vec<Step> {
    let mut kept = vec![false; graph.value_bound()];
    let mut keep = |v: ValueId| kept.get_mut(v.0 as usize).is_some_and(|k| !std::mem::replace(k, true));
    graph.outputs.iter().chain(taps).for_each(|v| {
        keep(*v);
    });
    // Backwards: the first reader met is the last one to run.
    let mut steps: Vec<Step> = Vec::with_capacity(graph.order().len());
    for &node in graph.order().iter().rev() {
        let n = graph.node(node);
        let last = n.operands().chain(n.outputs.iter().copied()).filter(|v| keep(*v)).collect();
        steps.push(Step { node, last });
    }
    steps.reverse();
    steps
}

impl Run for Loaded {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Outputs> {
        // The mode belongs to the thread, and a run may be on another one than the loading.
        check_float_mode()?;
        let g = &self.graph;
        let mut values: Vec<Option<Tensor>> = vec![None; g.value_bound()];
        for (v, tensor) in g.inputs.iter().zip(check_inputs(g, inputs)?) {
            set(&mut values, *v, tensor);
        }
        for step in &self.steps {
            let node = g.node(step.node);
            let read = |v: ValueId| get(g, &values, v).map_err(|e| e.at_node(&node.name));
            let operands = node.inputs.iter().map(|v| v.map(read).transpose()).collect::<Result<Vec<_>>>()?;
            let declared: Vec<Type> = node.outputs.iter().map(|v| g.ty(*v).clone()).collect();
            let results = self.eval(node, &operands, &declared, &values).map_err(|e| {
                let name = node.outputs.first().map(|v| g.value(*v).name.as_str()).unwrap_or_default();
                e.at_node(&node.name).at_value(name)
            })?;
            for (v, tensor) in node.outputs.iter().zip(results) {
                set(&mut values, *v, tensor);
            }
            for v in &step.last {
                if let Some(slot) = values.get_mut(v.0 as usize) {
                    *slot = None;
                }
            }
        }
        let read = |vs: &[ValueId]| vs.iter().map(|v| get(g, &values, *v).cloned()).collect::<Result<Vec<_>>>();
        Ok(Outputs { outputs: read(&g.outputs)?, taps: read(&self.taps)? })
    }
}

impl Loaded {
    /// Computes one node, if there is room for its results beside the values that are alive.
    fn eval(
        &self,
        node: &Node,
        operands: &[Option<&Tensor>],
        declared: &[Type],
        values: &[Option<Tensor>],
    ) -> Result<Vec<Tensor>> {
        let types: Vec<Option<&Type>> = operands.iter().map(|t| t.map(Tensor::ty)).collect();
        let alive = values.iter().flatten().map(|t| t.bytes().len());
        let results = infer(&node.op, &types, declared, &self.engine.customs)?;
        let own = workspace(&node.op, &types, &results);
        let needed = alive.chain(results.iter().map(memory::bytes)).fold(own, usize::saturating_add);
        memory::check("the values of a run, up to this one's, and what computes it", needed, self.engine.max_memory)?;
        eval(&node.op, operands, declared, &self.engine.customs)
    }
}

fn set(values: &mut [Option<Tensor>], v: ValueId, tensor: Tensor) {
    if let Some(slot) = values.get_mut(v.0 as usize) {
        *slot = Some(tensor);
    }
}

fn get<'a>(g: &'a Graph, values: &'a [Option<Tensor>], v: ValueId) -> Result<&'a Tensor> {
    let value = g.value(v);
    let found = match &value.def {
        Def::Const(t) => Some(t),
        Def::Input | Def::Node(..) => values.get(v.0 as usize).and_then(Option::as_ref),
    };
    found.ok_or_else(|| Error::new("the value is read before it is computed").at_value(&value.name))
}

/// The inputs with the graph's quantization, checked: their number, storage types, shapes, and ranges if quantized.
fn check_inputs(g: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    if inputs.len() != g.inputs.len() {
        let names: Vec<String> = g.inputs.iter().map(|v| format!("{} {}", g.value(*v).name, g.ty(*v))).collect();
        return Err(Error::new(format!(
            "expected {} inputs ({}), found {}",
            g.inputs.len(),
            names.join(", "),
            inputs.len()
        )));
    }
    let mut symbols = Bindings::new();
    let checked = g.inputs.iter().zip(inputs).map(|(v, tensor)| {
        let value = g.value(*v);
        check_input(&value.ty, tensor, &mut symbols).map_err(|e| e.at_value(&value.name))
    });
    checked.collect()
}

fn check_input(ty: &Type, tensor: &Tensor, symbols: &mut Bindings) -> Result<Tensor> {
    if tensor.dtype() != ty.dtype || tensor.ty().quant.as_ref().is_some_and(|q| Some(q) != ty.quant.as_ref()) {
        return Err(Error::new(format!("expected an input {ty}, found {}", tensor.ty())));
    }
    bind_dims(ty, tensor.dims(), false, symbols)?;
    let Some(q) = &ty.quant else { return Ok(tensor.clone()) };
    tensor.check_range(q)?;
    Ok(tensor.with_quant(Some(q.clone())))
}
