//! Einsum against numpy.

mod common;

use common::*;

#[test]
fn products_of_two() {
    Case::new("Einsum", 13, vec![Some(ramp(3, &[2, 3])), Some(ramp(5, &[3, 2]))])
        .with(vec![text("equation", "ij,jk->ik")])
        .gives(&[2, 2], &[0.625, 0.3125, 0.75, 0.5])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[2, 3])), Some(ramp(5, &[2, 3]))])
        .with(vec![text("equation", "ij,kj")])
        .gives(&[2, 2], &[-1.0625, -1.3125, -1.0, -1.0625])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[2, 1, 3])), Some(ramp(5, &[3, 2]))])
        .with(vec![text("equation", "bij,jk->bik")])
        .gives(&[2, 1, 2], &[0.625, 0.3125, 0.75, 0.5])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[1, 2, 2, 3])), Some(ramp(5, &[1, 2, 2, 3]))])
        .with(vec![text("equation", "bhid,bhjd->bhij")])
        .gives(&[1, 2, 2, 2], &[-1.0625, -1.3125, -1.0, -1.0625, 1.375, 1.5, 1.125, 1.4375])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[1, 2, 2, 3])), Some(ramp(5, &[1, 2, 2, 3]))])
        .with(vec![text("equation", "bqnh,bknh->bnqk")])
        .gives(&[1, 2, 2, 2], &[-1.0625, 1.875, -0.9375, 1.375, -1.0625, 1.5625, -0.5625, 1.4375])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[2, 3])), Some(ramp(5, &[1, 3, 2]))])
        .with(vec![text("equation", "oc,bcl->bol")])
        .gives(&[1, 2, 2], &[0.625, 0.3125, 0.75, 0.5])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[2])), Some(ramp(5, &[3]))])
        .with(vec![text("equation", "i,j->ij")])
        .gives(&[2, 3], &[0.0, 0.5, -0.375, 0.0, -1.25, 0.9375])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[2, 3])), Some(ramp(5, &[2, 3]))])
        .with(vec![text("equation", "ij,ij->i")])
        .gives(&[2], &[-1.0625, -1.0625])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[1, 2, 2, 1])), Some(ramp(5, &[2, 1, 1, 2]))])
        .with(vec![text("equation", "abcd,cdef->abef")])
        .gives(&[1, 2, 1, 2], &[0.9375, 0.1875, -0.5625, -0.0625])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[2, 1, 2, 2])), Some(ramp(5, &[1, 2, 3]))])
        .with(vec![text("equation", "...ij,...jk->...ik")])
        .gives(
            &[2, 1, 2, 3],
            &[-0.3125, -1.0625, 0.25, 0.1875, 0.6875, -0.1875, 0.0, -1.0, 0.75, -0.1875, 0.0625, -0.375],
        )
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[2, 2])), Some(ramp(5, &[1, 3]))])
        .with(vec![text("equation", "ij,kl->")])
        .gives(&[], &[-0.0625])
        .check();
}

#[test]
fn one_and_several_operands() {
    Case::new("Einsum", 13, vec![Some(ramp(3, &[2, 3]))])
        .with(vec![text("equation", "ij->ji")])
        .gives(&[3, 2], &[-0.5, -0.75, 1.25, 1.0, 0.25, 0.0])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[2, 3]))])
        .with(vec![text("equation", "ba")])
        .gives(&[3, 2], &[-0.5, -0.75, 1.25, 1.0, 0.25, 0.0])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[2, 3]))])
        .with(vec![text("equation", "ij->")])
        .gives(&[], &[1.25])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[3, 3]))])
        .with(vec![text("equation", "ii->i")])
        .gives(&[3], &[-0.5, 1.0, -0.25])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[3, 3]))])
        .with(vec![text("equation", "ii")])
        .gives(&[], &[0.25])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[2, 2, 2]))])
        .with(vec![text("equation", "...ii->...i")])
        .gives(&[2, 2], &[-0.5, -0.75, 1.0, 0.75])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[2, 2, 3]))])
        .with(vec![text("equation", "iij->j")])
        .gives(&[3], &[-1.75, 1.75, -0.25])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[2, 2])), Some(ramp(5, &[2, 3])), Some(ramp(7, &[3, 1]))])
        .with(vec![text("equation", "ij,jk,kl->il")])
        .gives(&[2, 1], &[0.6875, -0.484375])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[2])), Some(ramp(5, &[2])), Some(ramp(7, &[2]))])
        .with(vec![text("equation", "a,b,a->b")])
        .gives(&[2], &[0.0, 0.875])
        .check();
    Case::new("Einsum", 13, vec![Some(ramp(3, &[1, 2])), Some(ramp(5, &[2]))])
        .with(vec![text("equation", "ij,...->ij...")])
        .gives(&[1, 2, 2], &[0.0, 0.5, 0.0, -1.25])
        .check();
}
