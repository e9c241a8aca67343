#!/usr/bin/env python3
"""Quantizes a detector and compares the boxes that it and its float model find in photographs.

Boxes are decoded as each detector's authors do it, thinned by suppressing those that overlap a better one of their class
by more than 0.45, and kept above a score. A box of the float model is found again if the quantized one has a box of the
same class that shares half of their union with it; each is found once, the best first.

Prints one JSON object. Needs numpy and Pillow.
"""
import argparse
import json
import pathlib
import subprocess

import numpy as np
from PIL import Image

OVERLAP = 0.45
SAME = 0.5


def ultraface_input(image):
    """RGB, 320 by 240, from -1 to 1."""
    pixels = np.asarray(image.convert("RGB").resize((320, 240), Image.BILINEAR), np.float32)
    return ((pixels - 127) / 128).transpose(2, 0, 1)


def ultraface_boxes(outputs, i):
    """Boxes of faces, in parts of the image: (class, score, corners)."""
    scores, corners = outputs["scores"][i][:, 1], outputs["boxes"][i]
    return np.zeros(len(scores), int), scores, corners


def yolox_input(image):
    """BGR, 0 to 255, 416 by 416 with grey where the image ends."""
    image = image.convert("RGB")
    ratio = min(416 / image.width, 416 / image.height)
    size = (round(image.width * ratio), round(image.height * ratio))
    square = np.full((416, 416, 3), 114, np.float32)
    square[: size[1], : size[0]] = np.asarray(image.resize(size, Image.BILINEAR))
    return square[:, :, ::-1].transpose(2, 0, 1)


def yolox_boxes(outputs, i):
    """Boxes of 80 classes, in pixels: centres are off from their cell, sizes are powers of e, both in strides."""
    (raw,) = outputs.values()
    cells, strides = [], []
    for stride in (8, 16, 32):
        side = 416 // stride
        y, x = np.mgrid[:side, :side]
        cells.append(np.stack([x.ravel(), y.ravel()], 1))
        strides.append(np.full((side * side, 1), stride))
    cells, strides = np.concatenate(cells), np.concatenate(strides)
    centre, half = (raw[i][:, :2] + cells) * strides, np.exp(raw[i][:, 2:4]) * strides / 2
    scores = raw[i][:, 4:5] * raw[i][:, 5:]
    return scores.argmax(1), scores.max(1), np.concatenate([centre - half, centre + half], 1)


DETECTORS = {
    "ultraface_rfb320": (ultraface_input, ultraface_boxes, 0.7),
    "yolox_nano_b": (yolox_input, yolox_boxes, 0.3),
}


def overlap(box, others):
    """The part of the union of a box and each of the others that they share."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    area = lambda b: np.clip(b[..., 2:] - b[..., :2], 0, None).prod(-1)
    return shared / np.maximum(area(box) + area(others) - shared, 1e-9)


def kept(classes, scores, corners, least):
    """The boxes above a score that none better of their class covers, the best first."""
    order = [i for i in np.argsort(-scores, kind="stable") if scores[i] >= least]
    found = []
    for i in order:
        same = [j for j in found if classes[j] == classes[i]]
        if not same or overlap(corners[i], corners[same]).max() <= OVERLAP:
            found.append(i)
    return [(classes[i], scores[i], corners[i]) for i in found]


def matched(boxes, others):
    """How much each box that is found again shares with what it is found as."""
    free, shares = list(range(len(others))), []
    for name, _, corners in boxes:
        same = [j for j in free if others[j][0] == name]
        if not same:
            continue
        shared = overlap(corners, np.array([others[j][2] for j in same]))
        if shared.max() >= SAME:
            free.remove(same[int(shared.argmax())])
            shares.append(float(shared.max()))
    return shares


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for flag in ("--lowbit", "--model", "--calibration", "--test", "--work"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a choice of the quantization")
    args = parser.parse_args()
    prepare, decode, least = DETECTORS[pathlib.Path(args.model).stem]
    work = pathlib.Path(args.work)
    work.mkdir(parents=True, exist_ok=True)

    def array(folder, count, name):
        files = sorted(p for p in pathlib.Path(folder).rglob("*") if p.suffix.lower() in (".jpeg", ".jpg", ".png"))
        files = files[:: max(1, len(files) // count)][:count]
        np.save(work / name, np.stack([prepare(Image.open(file)) for file in files]).astype(np.float32))
        return str(work / name), len(files)

    calibration, _ = array(args.calibration, 128, "calibration.npy")
    test, count = array(args.test, args.samples, "test.npy")
    integer = str(work / "int8.onnx")
    quantize = [args.lowbit, "quantize", args.model, "--data", calibration, "-o", integer, "--no-report", "--json"]
    quantize += [word for choice in args.set for word in ("--set", choice)]
    told = json.loads(subprocess.run(quantize, check=True, capture_output=True).stdout)

    def boxes(model, name):
        command = [args.lowbit, "run", model, "--data", test, "--output", str(work / name), "--json"]
        outputs = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["outputs"]
        arrays = {o["name"]: np.load(o["file"]) for o in outputs}
        return [kept(*decode(arrays, i), least) for i in range(count)]

    float_boxes, integer_boxes = boxes(args.model, "float"), boxes(integer, "int8")
    shares = [matched(a, b) for a, b in zip(float_boxes, integer_boxes)]
    found = sum(map(len, shares))
    print(json.dumps({
        "samples": count,
        "score": least,
        "layers_integer": told["layers_integer"],
        "layers_total": told["layers_total"],
        "float_boxes": sum(map(len, float_boxes)),
        "integer_boxes": sum(map(len, integer_boxes)),
        "found_again": found,
        "mean_overlap": float(np.mean([s for each in shares for s in each])) if found else None,
    }))


if __name__ == "__main__":
    main()
