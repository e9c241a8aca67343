//! From text to graph: recursive descent without recursion, for nothing in the text nests.
//!
//! Memory grows with the text and not with the numbers in it: data is made of what stands there, never of what a shape
//! claims.

use super::attributes::{Attr, Given, operator};
use super::number::{f32_of, int_of, tensor, unhex};
use super::scan::{Problem, Scanned, Scanner, name_char};
use crate::suggest::did_you_mean;
use crate::{Customs, DType, Dim, Error, Granularity, Graph, Quant, Result, Shape, Tensor, Type, ValueId, infer};
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

pub(super) fn graph(text: &str, customs: &Customs) -> Result<Graph> {
    let mut p = Parser { s: Scanner::new(text), g: Graph::default(), node_names: HashSet::new(), customs };
    match p.graph() {
        Ok(()) => Ok(p.g),
        Err(problem) => Err(problem.into_error(text)),
    }
}

struct Parser<'a> {
    s: Scanner<'a>,
    g: Graph,
    node_names: HashSet<String>,
    /// Operators of the user's, which say what their results are.
    customs: &'a Customs,
}

fn problem<T>(at: usize, message: impl Into<String>) -> Scanned<T> {
    Err(Problem::new(at, message))
}

fn at<T>(at: usize, result: Result<T>) -> Scanned<T> {
    result.map_err(|e: Error| Problem { at, message: e.message().to_string(), error: Some(Box::new(e)) })
}

impl<'a> Parser<'a> {
    fn graph(&mut self) -> Scanned<()> {
        if !self.s.eat_word("graph") {
            return Err(self.s.expected("'graph'"));
        }
        self.g.name = self.s.string("the graph's name")?;
        self.s.expect('{', "behind the graph's name")?;
        while !self.s.eat('}') {
            self.statement()?;
        }
        match self.s.at_end() {
            true => Ok(()),
            false => Err(self.s.expected("nothing behind the graph")),
        }
    }

    fn statement(&mut self) -> Scanned<()> {
        if matches!(self.s.peek(), Some('%' | '(')) {
            self.node()
        } else if self.s.eat_word("const") {
            self.constant()
        } else if self.s.eat_word("input") {
            let (_, name) = self.new_name()?;
            let ty = self.typed()?;
            self.g.add_input(&name, ty);
            Ok(())
        } else if self.s.eat_word("output") {
            let v = self.reference()?;
            self.g.outputs.push(v);
            Ok(())
        } else if self.s.eat_word("meta") {
            self.metadata()
        } else if self.s.eat_word("property") {
            let place = self.s.place();
            let key = self.s.string("the property's key")?;
            let text = self.s.string("the property's value")?;
            match self.g.meta.properties.insert(key, text) {
                None => Ok(()),
                Some(_) => problem(place, "this property is given twice"),
            }
        } else {
            Err(self.s.expected("'input', 'const', 'output', 'meta', 'property', a %value or '}'"))
        }
    }

    fn metadata(&mut self) -> Scanned<()> {
        if self.s.eat_word("producer") {
            self.g.meta.producer = self.s.string("the producer")?;
        } else if self.s.eat_word("doc") {
            self.g.meta.doc = self.s.string("the documentation")?;
        } else {
            return Err(self.s.expected("'producer' or 'doc'"));
        }
        Ok(())
    }

    // ---- names ----

    /// A name with its place.
    fn value_name(&mut self) -> Scanned<(usize, String)> {
        let place = self.s.place();
        self.s.expect('%', "and the name of a value")?;
        Ok((place, self.s.name("the name of a value")?))
    }

    /// The name of a value that is not defined yet.
    fn new_name(&mut self) -> Scanned<(usize, String)> {
        let (place, name) = self.value_name()?;
        match name.is_empty() || self.g.find(&name).is_some() {
            true if name.is_empty() => problem(place, "expected the name of a value, found an empty one"),
            true => problem(place, format!("the value '{name}' is defined twice")),
            false => Ok((place, name)),
        }
    }

    /// A value that is defined already.
    fn reference(&mut self) -> Scanned<ValueId> {
        let (place, name) = self.value_name()?;
        match self.g.find(&name) {
            Some(v) => Ok(v),
            None => {
                let near = did_you_mean(&name, self.g.values().map(|(_, v)| &v.name));
                problem(place, format!("expected a value defined above, found '{name}'{near}"))
            }
        }
    }

    // ---- types ----

    /// `: type`.
    fn typed(&mut self) -> Scanned<Type> {
        self.s.expect(':', "and a type behind the name")?;
        self.ty()
    }

    fn ty(&mut self) -> Scanned<Type> {
        let place = self.s.place();
        let dtype: DType = at(place, self.s.token("a type such as f32[1x3]")?.parse())?;
        self.s.expect('[', "and a shape behind the dtype")?;
        let shape = self.shape()?;
        let quant = if self.s.eat('{') { Some(self.quant(dtype)?) } else { None };
        Ok(Type { dtype, shape, quant })
    }

    fn shape(&mut self) -> Scanned<Shape> {
        if self.s.eat_word("scalar") {
            self.s.expect(']', "behind 'scalar'")?;
            return Ok(Shape::default());
        }
        let mut dims = Vec::new();
        loop {
            dims.push(self.dim()?);
            if !self.s.eat_here('x') {
                break;
            }
        }
        self.s.expect(']', "or 'x' behind a dimension")?;
        Ok(Shape(dims))
    }

    fn dim(&mut self) -> Scanned<Dim> {
        let place = self.s.place();
        let rest = self.s.rest();
        if rest.starts_with('"') {
            return Ok(Dim::Symbol(self.s.string("a dimension")?.into()));
        }
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Dim::Known(at(place, int_of(self.s.take_while(|c| c.is_ascii_digit())))?));
        }
        match self.s.take_while(|c| name_char(c) && c != 'x') {
            "" => Err(self.s.expected("a dimension such as 3 or N, or 'scalar'")),
            symbol => Ok(Dim::Symbol(symbol.into())),
        }
    }

    /// `scale * (q - zero) in min..max, axis a, block n}`.
    fn quant(&mut self, dtype: DType) -> Scanned<Quant> {
        let scale: Arc<[f32]> = match self.s.eat('[') {
            true => self.list(f32_of)?.into(),
            false => [self.number("a scale", f32_of)?].into(),
        };
        self.s.expect('*', "behind the scale")?;
        let zero_point: Arc<[i32]> = match self.s.eat('(') {
            false => {
                self.q()?;
                vec![0; scale.len()].into()
            }
            true => {
                self.q()?;
                self.s.expect('-', "behind 'q'")?;
                let zeros = match self.s.eat('[') {
                    true => self.list(int_of)?,
                    false => vec![self.number("a zero point", int_of)?; scale.len()],
                };
                self.s.expect(')', "behind the zero point")?;
                zeros.into()
            }
        };
        let (qmin, qmax) = self.range(dtype)?;
        let granularity = self.granularity()?;
        self.s.expect('}', "behind the quantization")?;
        Ok(Quant { scale, zero_point, qmin, qmax, granularity })
    }

    fn q(&mut self) -> Scanned<()> {
        if self.s.eat_word("q") { Ok(()) } else { Err(self.s.expected("'q'")) }
    }

    /// `in min..max`, or the full range of the dtype.
    fn range(&mut self, dtype: DType) -> Scanned<(i64, i64)> {
        let place = self.s.place();
        if !self.s.eat_word("in") {
            let message = format!("expected a range such as 'in 0..255', for {dtype} has none of its own");
            return dtype.range().ok_or(Problem::new(place, message));
        }
        let place = self.s.place();
        let token = self.s.token("a range such as 0..255")?;
        match token.split_once("..") {
            Some((min, max)) => Ok((at(place, int_of(min))?, at(place, int_of(max))?)),
            None => problem(place, format!("expected a range such as 0..255, found '{token}'")),
        }
    }

    fn granularity(&mut self) -> Scanned<Granularity> {
        if !self.s.eat(',') {
            return Ok(Granularity::Tensor);
        }
        if !self.s.eat_word("axis") {
            return Err(self.s.expected("'axis'"));
        }
        let axis = self.number("an axis", int_of)?;
        if !self.s.eat(',') {
            return Ok(Granularity::Channel { axis });
        }
        if !self.s.eat_word("block") {
            return Err(self.s.expected("'block'"));
        }
        Ok(Granularity::Block { axis, size: self.number("a block size", int_of)? })
    }

    fn number<T>(&mut self, what: &str, of: impl Fn(&str) -> Result<T>) -> Scanned<T> {
        let place = self.s.place();
        let token = self.s.token(what)?;
        at(place, of(token))
    }

    // ---- data ----

    /// Numbers up to the closing bracket; the opening one is taken already.
    fn list<T>(&mut self, of: impl Fn(&str) -> Result<T>) -> Scanned<Vec<T>> {
        let mut items = Vec::new();
        while !self.s.eat(']') {
            let place = self.s.place();
            let token = self.s.token("a number or ']'")?;
            if token == "..." {
                return left_out(place);
            }
            items.push(at(place, of(token))?);
            if !self.s.eat(',') && self.s.peek() != Some(']') {
                return Err(self.s.expected("',' or ']' in a list"));
            }
        }
        Ok(items)
    }

    /// The tokens of a list, unread.
    fn tokens(&mut self) -> Scanned<Vec<Cow<'a, str>>> {
        let mut items = Vec::new();
        while !self.s.eat(']') {
            items.push(self.s.token("a number or ']'")?.into());
            if !self.s.eat(',') && self.s.peek() != Some(']') {
                return Err(self.s.expected("',' or ']' in a list"));
            }
        }
        Ok(items)
    }

    fn constant(&mut self) -> Scanned<()> {
        let (_, name) = self.new_name()?;
        let ty = self.typed()?;
        self.s.expect('=', "and the data of the constant")?;
        let tensor = self.data(ty)?;
        self.g.add_const(&name, tensor);
        Ok(())
    }

    fn data(&mut self, ty: Type) -> Scanned<Tensor> {
        let place = self.s.place();
        if self.s.eat('[') {
            let tokens = self.tokens()?;
            return at(place, tensor(ty, tokens.iter().map(|t| &**t)));
        }
        if self.s.eat_word("hex") {
            let (start, digits) = self.s.raw_string("the bytes")?;
            return match unhex(digits) {
                Ok(bytes) => at(place, Tensor::from_bytes(ty, Bytes::from(bytes))),
                Err(i) => problem(start + i, "expected two hexadecimal digits a byte"),
            };
        }
        if self.s.eat_word("elided") {
            return left_out(place);
        }
        Err(self.s.expected("the data of the constant: a list such as [1, 2] or hex \"...\""))
    }

    // ---- nodes ----

    fn node(&mut self) -> Scanned<()> {
        let outputs = self.node_outputs()?;
        self.s.expect('=', "and an operator")?;
        let place = self.s.place();
        let name = self.s.take_while(name_char);
        if name.is_empty() {
            return Err(self.s.expected("an operator such as Conv"));
        }
        let inputs = self.operands()?;
        let given = Given::new(place, self.attributes()?);
        let rank = inputs.first().copied().flatten().map_or(0, |v| self.g.ty(v).shape.rank());
        let op = operator(name, given, rank)?;

        let named = self.s.place();
        let node_name = match (self.s.eat('@'), outputs.first()) {
            (true, _) => self.s.name("the name of the node")?,
            (false, Some((_, name, _))) => name.clone(),
            (false, None) => return Err(self.s.expected("'@' and the name of a node without outputs")),
        };
        if node_name.is_empty() || !self.node_names.insert(node_name.clone()) {
            return problem(named, format!("the node '{node_name}' is defined twice, or has no name"));
        }
        let rule = match self.s.eat_word("rule") {
            true => Some(self.s.string("the rule")?),
            false => None,
        };

        let written: Vec<Type> = outputs.iter().filter_map(|(_, _, ty)| ty.clone()).collect();
        let types = if written.len() == outputs.len() {
            written
        } else if written.is_empty() {
            let operands: Vec<Option<&Type>> = inputs.iter().map(|v| v.map(|v| self.g.ty(v))).collect();
            at(place, infer::infer(&op, &operands, &[], self.customs))?
        } else {
            return problem(place, "expected types of all outputs, or of none to have them inferred");
        };
        if types.len() != outputs.len() {
            return problem(place, format!("{name} gives {} outputs, found {}", types.len(), outputs.len()));
        }
        let outputs: Vec<(&str, Type)> = outputs.iter().zip(types).map(|((_, n, _), ty)| (n.as_str(), ty)).collect();
        let id = self.g.add_node(&node_name, op, inputs, &outputs);
        self.g.node_mut(id).rule = rule.map(Into::into);
        Ok(())
    }

    /// `%a: type, %b: type`, types optional; `()` for none.
    fn node_outputs(&mut self) -> Scanned<Vec<(usize, String, Option<Type>)>> {
        let mut outputs: Vec<(usize, String, Option<Type>)> = Vec::new();
        if self.s.eat('(') {
            self.s.expect(')', "for no outputs")?;
            return Ok(outputs);
        }
        let mut seen = HashSet::new();
        loop {
            let (place, name) = self.new_name()?;
            if !seen.insert(name.clone()) {
                return problem(place, format!("the value '{name}' is defined twice"));
            }
            let ty = if self.s.eat(':') { Some(self.ty()?) } else { None };
            outputs.push((place, name, ty));
            if !self.s.eat(',') {
                return Ok(outputs);
            }
        }
    }

    fn operands(&mut self) -> Scanned<Vec<Option<ValueId>>> {
        self.s.expect('(', "and the operands")?;
        let mut inputs = Vec::new();
        while !self.s.eat(')') {
            inputs.push(if self.s.eat_word("_") { None } else { Some(self.reference()?) });
            if !self.s.eat(',') && self.s.peek() != Some(')') {
                return Err(self.s.expected("',' or ')' behind an operand"));
            }
        }
        Ok(inputs)
    }

    fn attributes(&mut self) -> Scanned<Vec<(usize, &'a str, Attr<'a>)>> {
        let mut attrs = Vec::new();
        if !self.s.eat('{') {
            return Ok(attrs);
        }
        while !self.s.eat('}') {
            let place = self.s.place();
            let name = self.s.take_while(name_char);
            if name.is_empty() {
                return Err(self.s.expected("the name of an attribute or '}'"));
            }
            let attr = match self.s.peek() {
                Some(',' | '}') => Attr::Flag,
                Some('"') => Attr::Text(self.s.string("an attribute")?),
                Some('[') => {
                    self.s.eat('[');
                    Attr::List(self.tokens()?)
                }
                _ => Attr::Token(self.s.token("a value, a list or a string")?.into()),
            };
            attrs.push((place, name, attr));
            if !self.s.eat(',') && self.s.peek() != Some('}') {
                return Err(self.s.expected("',' or '}' behind an attribute"));
            }
        }
        Ok(attrs)
    }
}

fn left_out<T>(place: usize) -> Scanned<T> {
    problem(place, "this text was printed for reading, with parts left out: print it with all constants to parse it")
}
