"""Writes arrays/*.npy and *.npz with NumPy: every element type, byte order, memory order and header version.

Use: python make_array_fixtures.py   (needs numpy; run with numpy 2.4)
Element i of an array (row-major) is i * 3 - 7, modulo the range of an unsigned type; i % 2 for bool.
"""

import pathlib

import numpy

FOLDER = pathlib.Path(__file__).with_name("arrays")
FOLDER.mkdir(exist_ok=True)


def fill(shape, kind):
    count = int(numpy.prod(shape, dtype=int))
    values = numpy.arange(count, dtype=numpy.int64) * 3 - 7
    values = values % 200 if kind[1] == "u" else numpy.arange(count) % 2 if kind[1] == "b" else values
    return values.reshape(shape).astype(numpy.dtype(kind))


for order in "<>":
    for kind in ("f2", "f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "b1"):
        name = ("little" if order == "<" else "big") + f"_{kind}.npy"
        numpy.save(FOLDER / name, fill((2, 3, 4), order + kind))
for version in (1, 2, 3):
    with open(FOLDER / f"version{version}.npy", "wb") as file:
        numpy.lib.format.write_array(file, fill((2, 3, 4), "<f4"), version=(version, 0))
numpy.save(FOLDER / "fortran_f4.npy", numpy.asfortranarray(fill((2, 3, 4), "<f4")))
numpy.save(FOLDER / "fortran_i2.npy", numpy.asfortranarray(fill((2, 3, 4), ">i2")))
numpy.save(FOLDER / "scalar.npy", fill((), "<f4"))
numpy.save(FOLDER / "vector.npy", fill((24,), "<f4"))
numpy.save(FOLDER / "empty.npy", fill((0, 3), "<f4"))
arrays = {"x": fill((2, 3, 4), "<f4"), "ids": fill((2, 5), "<u1"), "label": numpy.array([1, 0])}
numpy.savez(FOLDER / "stored.npz", **arrays)
numpy.savez_compressed(FOLDER / "deflated.npz", **arrays)
