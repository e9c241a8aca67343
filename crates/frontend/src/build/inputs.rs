//! The inputs of a model, with the shapes that the user gives them.

use super::{Builder, Item};
use lowbit_ir::suggest::did_you_mean;
use lowbit_ir::{Dim, Error, Result, Shape, Type, infer};

/// Sizes by the names of these inputs: those without a name are of the only one.
pub fn named(shapes: &[(String, Vec<usize>)], inputs: &[&str]) -> Result<Vec<(String, Vec<usize>)>> {
    let of_whom = |(name, dims): &(String, Vec<usize>)| match (name.as_str(), inputs) {
        ("", [only]) => Ok(((*only).to_string(), dims.clone())),
        ("", _) => Err(Error::new(format!(
            "expected sizes by name for the inputs {}, found the sizes {dims:?} without one",
            inputs.join(", ")
        ))),
        (_, _) => Ok((name.clone(), dims.clone())),
    };
    shapes.iter().map(of_whom).collect()
}

/// Adds inputs of these names and types; `shapes` binds their open dimensions, and those of the same symbol elsewhere.
pub fn add(builder: &mut Builder, mut given: Vec<(String, Type)>, shapes: &[(String, Vec<usize>)]) -> Result<()> {
    let names: Vec<&str> = given.iter().map(|(n, _)| n.as_str()).collect();
    let shapes = named(shapes, &names)?;
    let mut symbols = infer::Bindings::new();
    for (name, dims) in &shapes {
        let Some((_, ty)) = given.iter_mut().find(|(n, _)| n == name) else {
            let names: Vec<&str> = given.iter().map(|(n, _)| n.as_str()).collect();
            let near = did_you_mean(name, names.iter().copied());
            return Err(Error::new(format!("no input is named '{name}'{near}"))
                .hint(format!("the inputs are {}", names.join(", "))));
        };
        infer::bind_dims(ty, dims, true, &mut symbols).map_err(|e| e.at_value(name))?;
        ty.shape = Shape::known(dims);
    }
    for (name, ty) in given {
        let bound = |d: Dim| match &d {
            Dim::Symbol(s) => symbols.get(s).map_or(d.clone(), |n| Dim::Known(*n)),
            Dim::Known(_) => d,
        };
        let shape = Shape(ty.shape.0.into_iter().map(bound).collect());
        let v = builder.graph.add_input(&name, Type { shape, ..ty });
        builder.items.insert(name, Item::Value(v));
    }
    Ok(())
}

/// A name for the open dimension `axis` of an input.
pub fn symbol(input: &str, axis: usize) -> Dim {
    Dim::Symbol(format!("{input}_{axis}").into())
}
