//! Averages: exact integer sums, rescaled once.

use super::{Outcome, Realize, operand, settle};
use lowbit_ir::op::{Pool, QAvgPool};
use lowbit_ir::{Graph, NodeId, Op, Result};

pub fn realize(g: &mut Graph, id: NodeId, pool: Option<Pool>, cx: &mut Realize) -> Result<Outcome> {
    let x = match operand::narrow(g, g.node(id).input(0)) {
        Ok(x) => x,
        Err(why) => return Ok(Outcome::Float(why)),
    };
    settle::per_sink(g, id, cx, |_, sink, cx| {
        let average = QAvgPool { pool: pool.clone(), rescale: cx.rescale_to(sink) };
        Ok(Some((Op::QAvgPool(average), vec![x])))
    })
}
