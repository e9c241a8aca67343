#!/usr/bin/env python3
"""Make the embedded demo: render glyph images, train a small network, export it to ONNX.

    pip install torch onnx onnxscript pillow numpy     # any CPU build of PyTorch
    python demo/make_demo.py

writes, next to this script (or into --out DIR):

    model.onnx                      the trained float network, preprocessing and labels included
    calibration/<class>/NNN.png     images to calibrate with (the training distribution)
    test/<class>/NNN.png            images to measure accuracy with

Everything is drawn from fixed seeds.  The images do not depend on PyTorch at all; the trained
weights repeat exactly on one machine and one PyTorch version, and closely elsewhere.
"""

import argparse
import json
import math
import shutil
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import nn

SIZE = 32  # side of an image in pixels
SUPERSAMPLE = 4  # shapes are drawn this much larger and averaged down, for smooth edges
CANVAS = SIZE * SUPERSAMPLE
OPSET = 18  # the opset PyTorch's exporter writes natively, without a version conversion

# One seed per split: no image of one split can occur in another.
TRAIN_SEED, CALIBRATION_SEED, TEST_SEED, TORCH_SEED = 1001, 2002, 3003, 4004
TRAIN_PER_CLASS, CALIBRATION_PER_CLASS, TEST_PER_CLASS = 2000, 20, 84


# --- glyphs -----------------------------------------------------------------------------------
#
# A glyph is a list of (outline, solid) pairs in the square [-1, 1]^2, painted in order: an
# outline that is not solid cuts a hole into what was painted before it.


def regular(corners, radius=1.0, phase=0.0):
    angle = phase + np.arange(corners) * (2 * math.pi / corners)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def with_optional_hole(rng, outline):
    """A filled shape, or one time in four only its rim."""
    if rng.random() < 0.25:
        return [(outline, True), (outline * rng.uniform(0.5, 0.7), False)]
    return [(outline, True)]


def arrow(rng):
    shaft, head, neck = rng.uniform(0.12, 0.3), rng.uniform(0.5, 0.8), rng.uniform(-0.1, 0.3)
    upper = [(-1, shaft), (neck, shaft), (neck, head), (1, 0)]
    lower = [(x, -y) for x, y in reversed(upper[:-1])]
    return [(np.array(upper + lower, float), True)]


def bolt(rng):
    width = rng.uniform(0.15, 0.35)
    left = [(-0.35 - width, 0.1), (0.2 - width, -1.0)]
    right = [(0.35 + width, -0.1), (-0.2 + width, 1.0)]
    inner = 0.35 - width
    points = [left[1], (0.5, -1.0), (inner, -0.1), right[0], right[1], (-0.5, 1.0), (-inner, 0.1), left[0]]
    return [(np.array(points, float), True)]


def circle(rng):
    # Never with a hole: that would be a ring.
    return [(regular(40, 0.9), True)]


def cross(rng):
    t = rng.uniform(0.17, 0.38)
    points = [(t, 1), (t, t), (1, t), (1, -t), (t, -t), (t, -1), (-t, -1), (-t, -t), (-1, -t), (-1, t), (-t, t), (-t, 1)]
    return [(np.array(points, float), True)]


def heart(rng):
    a = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    x = 16 * np.sin(a) ** 3
    y = 13 * np.cos(a) - 5 * np.cos(2 * a) - 2 * np.cos(3 * a) - np.cos(4 * a) + 2.5
    return with_optional_hole(rng, np.stack([x, -y], axis=1) / 16)


def hexagon(rng):
    return with_optional_hole(rng, regular(6))


def moon(rng):
    bite = regular(40, rng.uniform(0.75, 0.95)) + [rng.uniform(0.4, 0.6), 0]
    return [(regular(40), True), (bite, False)]


def ring(rng):
    return [(regular(40, 0.95), True), (regular(40, rng.uniform(0.45, 0.75)), False)]


def spiral(rng):
    turns, width = rng.uniform(1.6, 2.2), rng.uniform(0.09, 0.14)
    angle = np.linspace(0, turns * 2 * math.pi, 64)
    radius = 0.1 + 0.8 * angle / angle[-1]
    ray = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    outer, inner = ray * (radius + width)[:, None], ray * (radius - width)[:, None]
    return [(np.concatenate([outer, inner[::-1]]), True)]


def square(rng):
    return with_optional_hole(rng, regular(4, 1.1))


def star(rng):
    points = regular(10, 1.1)
    points[1::2] *= rng.uniform(0.35, 0.55)
    return with_optional_hole(rng, points)


def triangle(rng):
    return with_optional_hole(rng, regular(3, 1.1))


# Class folders are read in alphabetical order, so the labels are in that order too.
GLYPHS = [arrow, bolt, circle, cross, heart, hexagon, moon, ring, spiral, square, star, triangle]
LABELS = [glyph.__name__ for glyph in GLYPHS]
assert LABELS == sorted(LABELS)


# --- rendering --------------------------------------------------------------------------------


def subdivide(outline, pieces=6):
    """Split every edge, so that a warp can bend it."""
    step = np.linspace(0, 1, pieces, endpoint=False)[:, None]
    following = np.roll(outline, -1, axis=0)
    return np.concatenate([a + (b - a) * step for a, b in zip(outline, following)])


def random_distortion(rng):
    """A function from glyph coordinates to canvas pixels: warp, scale, shear, turn, shift."""
    turn, shear = rng.uniform(0, 2 * math.pi), rng.uniform(-0.35, 0.35)
    scale = rng.uniform(7.5, 13.0) * SUPERSAMPLE * np.array([rng.uniform(0.75, 1), 1])
    c, s = math.cos(turn), math.sin(turn)
    matrix = np.array([[c, -s], [s, c]]) @ np.array([[1, shear], [0, 1]]) @ np.diag(scale)
    shift = CANVAS / 2 + rng.uniform(-4, 4, 2) * SUPERSAMPLE
    amount, phase, wave = rng.uniform(0, 0.13), rng.uniform(0, 2 * math.pi, 2), rng.uniform(2, 4, 2)

    def distort(points):
        warped = points + amount * np.sin(points[:, ::-1] * wave + phase)
        return warped @ matrix.T + shift

    return distort


def glyph_mask(rng, label):
    mask = Image.new("L", (CANVAS, CANVAS), 0)
    draw = ImageDraw.Draw(mask)
    glyph = GLYPHS[label](rng)
    distort = random_distortion(rng)
    for outline, solid in glyph:
        points = distort(subdivide(outline))
        draw.polygon([tuple(p) for p in points], fill=255 if solid else 0)
    return mask


def random_colour(rng):
    return tuple(int(v) for v in rng.integers(0, 256, 3))


def background(rng):
    """A straight gradient between two random colours."""
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:CANVAS, 0:CANVAS] / CANVAS - 0.5
    t = np.clip(0.5 + x * math.cos(angle) + y * math.sin(angle), 0, 1)[..., None]
    first, second = np.array(random_colour(rng)), np.array(random_colour(rng))
    # Colours not too far apart, or half the glyphs would vanish at one end of the gradient.
    second = first + 0.5 * (second - first)
    colours = first * (1 - t) + second * t
    return Image.fromarray(colours.astype(np.uint8)), (first + second) / 2


def contrasting_colour(rng, other):
    while True:
        colour = random_colour(rng)
        if np.linalg.norm(np.array(colour) - other) > 90:
            return colour


def add_clutter(rng, image, count, width):
    """Strokes and blobs that belong to no class."""
    draw = ImageDraw.Draw(image)
    for _ in range(count):
        x0, y0, x1, y1 = rng.uniform(0, CANVAS, 4)
        if rng.random() < 0.6:
            draw.line([x0, y0, x1, y1], fill=random_colour(rng), width=int(rng.uniform(1, width) * SUPERSAMPLE))
        else:
            r = rng.uniform(0.8, 1.6 * width) * SUPERSAMPLE
            draw.ellipse([x0 - r, y0 - r, x0 + r, y0 + r], fill=random_colour(rng))


def posterize(pixels):
    """Keep five bits per channel: noise is what fills a PNG file, and this halves it."""
    return (pixels & 0xF8) | (pixels >> 5)


def render(seed, label, index):
    """One image, 32x32x3 bytes; the same arguments always give the same image."""
    rng = np.random.default_rng([seed, label, index])
    image, back_colour = background(rng)
    add_clutter(rng, image, count=rng.integers(0, 6), width=2.5)
    image.paste(contrasting_colour(rng, back_colour), mask=glyph_mask(rng, label))
    add_clutter(rng, image, count=rng.integers(0, 4), width=1.6)
    image = image.resize((SIZE, SIZE), Image.Resampling.BOX)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.0)))
    noise = rng.normal(0, rng.uniform(0, 15), (SIZE, SIZE, 3))
    return posterize(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def render_split(seed, per_class):
    labels = np.repeat(np.arange(len(LABELS)), per_class)
    images = [render(seed, label, i % per_class) for i, label in enumerate(labels)]
    return np.stack(images), labels


def write_split(folder, images, labels):
    shutil.rmtree(folder, ignore_errors=True)
    counts = [0] * len(LABELS)
    for image, label in zip(images, labels):
        path = folder / LABELS[label] / f"{counts[label]:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, optimize=True)
        counts[label] += 1


# --- network ----------------------------------------------------------------------------------
#
# Small, but with one of each thing a quantizer has to get right: plain and depthwise
# convolutions, ReLU and ReLU6, additions with and without a projection, a linear bottleneck
# whose sum has no activation, a concatenation, global pooling and a linear head.


def conv_bn(inputs, outputs, kernel=3, stride=1, groups=1, activation=None):
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class Residual(nn.Module):
    """Two 3x3 convolutions added to their input, which is projected where the shape changes."""

    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.body = nn.Sequential(
            conv_bn(inputs, outputs, stride=stride, activation=nn.ReLU),
            conv_bn(outputs, outputs),
        )
        same = inputs == outputs and stride == 1
        self.skip = nn.Identity() if same else conv_bn(inputs, outputs, kernel=1, stride=stride)
        self.activation = nn.ReLU()

    def forward(self, x):
        return self.activation(self.body(x) + self.skip(x))


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow again without an activation (MobileNetV2)."""

    def __init__(self, inputs, outputs, expansion, stride=1):
        super().__init__()
        hidden = inputs * expansion
        self.body = nn.Sequential(
            conv_bn(inputs, hidden, kernel=1, activation=nn.ReLU6),
            conv_bn(hidden, hidden, stride=stride, groups=hidden, activation=nn.ReLU6),
            conv_bn(hidden, outputs, kernel=1),
        )
        self.add = inputs == outputs and stride == 1

    def forward(self, x):
        return x + self.body(x) if self.add else self.body(x)


class Branches(nn.Module):
    """A 1x1, a 3x3 and a pooled branch side by side."""

    def __init__(self, inputs, narrow, wide, pooled):
        super().__init__()
        self.narrow = conv_bn(inputs, narrow, kernel=1, activation=nn.ReLU)
        self.wide = conv_bn(inputs, wide, activation=nn.ReLU)
        self.pooled = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1),
            conv_bn(inputs, pooled, kernel=1, activation=nn.ReLU),
        )

    def forward(self, x):
        return torch.cat([self.narrow(x), self.wide(x), self.pooled(x)], dim=1)


def build_network():
    return nn.Sequential(
        conv_bn(3, 16, activation=nn.ReLU),
        Residual(16, 32, stride=2),
        InvertedResidual(32, 32, expansion=3),
        InvertedResidual(32, 48, expansion=4, stride=2),
        InvertedResidual(48, 48, expansion=3),
        Branches(48, narrow=16, wide=24, pooled=8),
        Residual(48, 48),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(48, len(LABELS)),
    )


# --- training ---------------------------------------------------------------------------------


def channel_statistics(images):
    """Mean and standard deviation per channel of pixel/255, rounded to be readable."""
    pixels = images.reshape(-1, 3) / 255.0
    return [[round(float(v), 3) for v in values] for values in (pixels.mean(axis=0), pixels.std(axis=0))]


def preprocess(images, mean, std):
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    x = (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    # PyTorch's CPU kernels train this network nearly twice as fast in this memory order.
    return x.contiguous(memory_format=torch.channels_last)


def turned(x):
    """A batch turned and mirrored at random: the same glyphs, so eight times the data for nothing."""
    quarters, mirror = int(torch.randint(4, ())), int(torch.randint(2, ()))
    x = torch.rot90(x, quarters, (2, 3))
    return (x.flip(3) if mirror else x).contiguous(memory_format=torch.channels_last)


def train(network, x, labels, epochs, batch=128):
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    steps = epochs * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=steps, pct_start=0.2)
    labels = torch.from_numpy(labels)
    network.train()
    for epoch in range(epochs):
        start, total = time.monotonic(), 0.0
        order = torch.randperm(len(x))
        for i in range(len(x) // batch):
            chosen = order[i * batch : (i + 1) * batch]
            loss = nn.functional.cross_entropy(network(turned(x[chosen])), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{epochs}: loss {total / (len(x) // batch):.4f}, {time.monotonic() - start:.0f} s", flush=True)


@torch.no_grad()
def confusion(network, x, labels):
    network.eval()
    predicted = torch.cat([network(part).argmax(1) for part in x.split(256)]).numpy()
    table = np.zeros((len(LABELS), len(LABELS)), int)
    np.add.at(table, (labels, predicted), 1)
    return table


# --- export -----------------------------------------------------------------------------------


def export(network, path, mean, std):
    # In training's memory order the exporter would write index arithmetic for the flattening.
    network = network.eval().to(memory_format=torch.contiguous_format)
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, SIZE, SIZE),),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        opset_version=OPSET,
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    model = onnx.load(path)
    drop_source_notes(model.graph)
    # The file carries what a reader needs to use it: how to make its input, what its output means.
    entries = {
        "lowbit.preprocess": {"resize": None, "crop": None, "mean": mean, "std": std, "channels": "rgb"},
        "lowbit.labels": LABELS,
    }
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in entries.items()})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def drop_source_notes(graph):
    """The exporter notes for every node the source lines it came from, with this machine's paths."""
    for item in [graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output]:
        del item.metadata_props[:]
        item.doc_string = ""


def main():
    parser = argparse.ArgumentParser(description="render the demo images, train and export the demo model")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(TORCH_SEED)

    print("rendering")
    calibration = render_split(CALIBRATION_SEED, CALIBRATION_PER_CLASS)
    test = render_split(TEST_SEED, TEST_PER_CLASS)
    write_split(options.out / "calibration", *calibration)
    write_split(options.out / "test", *test)
    images, labels = render_split(TRAIN_SEED, TRAIN_PER_CLASS)
    mean, std = channel_statistics(images)

    network = build_network().to(memory_format=torch.channels_last)
    parameters = sum(p.numel() for p in network.parameters())
    print(f"training {parameters} parameters on {len(images)} images, mean {mean}, std {std}")
    train(network, preprocess(images, mean, std), labels, options.epochs)
    table = confusion(network, preprocess(test[0], mean, std), test[1])
    print(f"test accuracy {table.trace() / table.sum():.4f}, rows are the true classes {' '.join(LABELS)}\n{table}")
    export(network, options.out / "model.onnx", mean, std)


if __name__ == "__main__":
    main()
