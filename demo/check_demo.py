#!/usr/bin/env python3
"""Measure the demo model on the demo images, with nothing but what its file says about itself.

    pip install onnx onnxruntime pillow numpy
    python demo/check_demo.py
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from PIL import Image

FOLDER = Path(__file__).resolve().parent


def load_images(folder, labels):
    """All images and their labels, the class folders in the order of the labels."""
    assert sorted(p.name for p in folder.iterdir()) == labels, f"{folder} does not hold the model's classes"
    pairs = [(path, label) for label, name in enumerate(labels) for path in sorted((folder / name).glob("*.png"))]
    return np.stack([np.asarray(Image.open(path)) for path, _ in pairs]), np.array([label for _, label in pairs])


def preprocess(images, recipe):
    assert recipe["resize"] is None and recipe["crop"] is None and recipe["channels"] == "rgb"
    x = (images / 255.0 - recipe["mean"]) / recipe["std"]
    return x.transpose(0, 3, 1, 2).astype(np.float32)


def main():
    model = onnx.load(FOLDER / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    notes = {entry.key: json.loads(entry.value) for entry in model.metadata_props if entry.key.startswith("lowbit.")}
    session = onnxruntime.InferenceSession(FOLDER / "model.onnx", providers=["CPUExecutionProvider"])
    for split in ["calibration", "test"]:
        images, labels = load_images(FOLDER / split, notes["lowbit.labels"])
        logits = session.run(["logits"], {"image": preprocess(images, notes["lowbit.preprocess"])})[0]
        right = int((logits.argmax(axis=1) == labels).sum())
        print(f"{split}: {right} of {len(labels)} right, {100 * right / len(labels):.2f} %")


if __name__ == "__main__":
    main()
