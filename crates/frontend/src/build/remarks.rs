//! What was read differently than the file says it: no reason to refuse a model, but nothing to keep silent about.

use lowbit_ir::DType;
use std::collections::BTreeMap;
use std::fmt;

/// Something of a file that the graph has otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remark {
    /// An element type that became another one.
    Type {
        /// The type in the file.
        from: &'static str,
        /// The type in the graph.
        to: DType,
        /// Where the file states it.
        place: Place,
        /// The value's name.
        value: String,
    },
    /// A name that several nodes have: all but the first got a number behind it.
    Name {
        /// The name in the file.
        name: String,
        /// How many nodes have it.
        count: usize,
    },
    /// An output whose sizes are others than the file declares.
    Shape {
        /// The output's name.
        value: String,
        /// The sizes that the file declares.
        declared: String,
        /// The sizes that it has by the operators before it.
        computed: String,
    },
    /// An array of a file of parameters that no operator reads.
    Unread {
        /// Its name.
        name: String,
    },
    /// A value whose number of rows the file leaves to the run: it has as many as there can be.
    Rows {
        /// The value's name.
        value: String,
        /// How many it has.
        rows: String,
    },
}

/// Where a file states the type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// An input of the model: its data must be given in the graph's type.
    Input,
    /// An output of the model: its data comes in the graph's type.
    Output,
    /// An initializer or a Constant node: its numbers were converted.
    Constant,
    /// A node that converts to the type: it converts to the graph's type instead.
    Conversion,
}

/// Most names that a line lists of one place.
const NAMES_SHOWN: usize = 3;

/// The remarks as lines for people: one a pair of types, with counts and names, one a name of several nodes, one an output
/// of other sizes, one a value with rows of no use, and one of all arrays that nothing reads.
///
/// `f16 became f32: 1 input ('x'), 1 output ('y'), 34 constants ('a', 'b', 'c' and 31 more)`
pub fn lines(remarks: &[Remark]) -> Vec<String> {
    let mut kinds: BTreeMap<(&str, DType), BTreeMap<Place, Vec<&str>>> = BTreeMap::new();
    let (mut single, mut unread) = (Vec::new(), Vec::new());
    for r in remarks {
        match r {
            Remark::Type { from, to, place, value } => {
                kinds.entry((from, *to)).or_default().entry(*place).or_default().push(value);
            }
            Remark::Name { name, count } => {
                single.push(format!("{count} nodes are named '{name}': all but the first have a number behind it"));
            }
            Remark::Unread { name } => unread.push(name.as_str()),
            Remark::Rows { value, rows } => {
                single.push(format!(
                    "'{value}' has {rows} rows, all that there can be: those that are not filled are -1"
                ));
            }
            Remark::Shape { value, declared, computed } => {
                single.push(format!("output '{value}' is {computed}, the file declares {declared}"));
            }
        }
    }
    let line = |((from, to), places): ((&str, DType), BTreeMap<Place, Vec<&str>>)| {
        let places: Vec<String> = places.iter().map(|(place, names)| list(*place, names)).collect();
        format!("{from} became {to}: {}", places.join(", "))
    };
    let unread = (!unread.is_empty()).then(|| format!("the model has no use for {}", counted("array", &unread)));
    kinds.into_iter().map(line).chain(single).chain(unread).collect()
}

fn list(place: Place, names: &[&str]) -> String {
    counted(&place.to_string(), names)
}

fn counted(what: &str, names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES_SHOWN).map(|n| format!("'{n}'")).collect();
    let more = match names.len().saturating_sub(NAMES_SHOWN) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{} {what}{plural} ({}{more})", names.len(), shown.join(", "))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Input => "input",
            Place::Output => "output",
            Place::Constant => "constant",
            Place::Conversion => "conversion",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_and_name() {
        let of = |from, to, place, value: &str| Remark::Type { from, to, place, value: value.into() };
        let mut all = vec![of("f64", DType::F32, Place::Output, "y"), of("f64", DType::F32, Place::Input, "x")];
        all.extend((0..5).map(|i| of("u32", DType::I64, Place::Constant, &format!("c{i}"))));
        let expected = [
            "f64 became f32: 1 input ('x'), 1 output ('y')",
            "u32 became i64: 5 constants ('c0', 'c1', 'c2' and 2 more)",
        ];
        assert_eq!(lines(&all), expected);
        let unread = ["a", "b"].map(|name| Remark::Unread { name: name.into() });
        assert_eq!(lines(&unread), ["the model has no use for 2 arrays ('a', 'b')"]);
        assert!(lines(&[]).is_empty());
    }
}
