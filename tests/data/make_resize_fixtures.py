"""Writes resize.txt: what Pillow's bilinear resize and torchvision's size and crop rules give on synthetic images.

Use: python make_resize_fixtures.py   (needs numpy and pillow; run with pillow 13.0)
Lines are `resize W H C OUT_W OUT_H HASH`, `short W H N OUT_W OUT_H` and `crop W H C OUT_W OUT_H HASH`;
HASH is FNV-1a (64 bits) of the pixels, rows first, channels last. tests/data.rs draws the same images.
"""

import pathlib

import numpy
from PIL import Image


def draw(width, height, channels):
    y, x, c = numpy.mgrid[:height, :width, :channels].astype(numpy.uint32)
    value = x * 7 + y * 13 + c * 101 + (x * y) % 17 * 11 + ((x * x + 3 * y) >> 2) + ((x ^ y) & 1) * 97
    pixels = (value & 255).astype(numpy.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


def fnv(image):
    value = 0xCBF29CE484222325
    for byte in image.tobytes():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def short_side(width, height, size):
    """torchvision.transforms.functional._compute_resized_output_size"""
    short, long = (width, height) if width <= height else (height, width)
    new_short, new_long = size, int(size * long / short)
    return (new_short, new_long) if width <= height else (new_long, new_short)


def center_crop(image, crop_width, crop_height):
    """torchvision.transforms.functional.center_crop on a PIL image"""
    width, height = image.size
    if crop_width > width or crop_height > height:
        left = (crop_width - width) // 2 if crop_width > width else 0
        top = (crop_height - height) // 2 if crop_height > height else 0
        padded = Image.new(image.mode, (max(width, crop_width), max(height, crop_height)))
        padded.paste(image, (left, top))
        image = padded
        width, height = image.size
    top = int(round((height - crop_height) / 2.0))
    left = int(round((width - crop_width) / 2.0))
    return image.crop((left, top, left + crop_width, top + crop_height))


RESIZES = [
    # down, up, odd to odd
    (64, 48, 3, 32, 24), (32, 24, 3, 64, 48), (37, 53, 3, 11, 17), (11, 17, 3, 37, 53), (37, 53, 1, 36, 54),
    # one direction only, identity
    (40, 30, 3, 20, 30), (40, 30, 3, 40, 15), (40, 30, 1, 41, 30), (40, 30, 3, 40, 30),
    # one pixel on either side
    (1, 1, 3, 5, 7), (5, 7, 3, 1, 1), (1, 9, 1, 4, 3), (9, 1, 3, 3, 4), (2, 2, 3, 1, 3), (3, 3, 1, 2, 2),
    # as in ImageNet, extreme ratios, filters over many samples
    (227, 227, 3, 256, 256), (256, 341, 3, 224, 298), (320, 240, 3, 256, 192), (500, 375, 3, 341, 256),
    (199, 3, 3, 7, 101), (3, 200, 3, 100, 2), (640, 7, 1, 3, 13), (1000, 4, 1, 1, 9), (97, 89, 3, 96, 90),
    # the order of the passes: rows first where more than twice as many rows as columns go
    (125, 275, 3, 2, 28), (32, 242, 3, 10, 198), (64, 298, 3, 7, 185), (20, 300, 3, 90, 200), (300, 20, 3, 200, 90),
    (100, 210, 3, 50, 105), (100, 200, 3, 50, 100), (100, 200, 3, 130, 260), (100, 230, 1, 100, 112),
]
SHORTS = [(227, 227, 256), (500, 375, 256), (375, 500, 256), (333, 500, 256), (1, 1000, 7), (1000, 3, 2), (640, 427, 224),
          (255, 257, 256), (257, 255, 256), (3, 7, 5), (99, 100, 33), (4288, 2848, 256), (5, 5, 1)]
CROPS = [(227, 227, 3, 224, 224), (256, 341, 3, 224, 224), (10, 10, 3, 7, 8), (11, 13, 1, 8, 8), (12, 15, 3, 7, 8),
         (5, 9, 3, 8, 4), (5, 5, 3, 8, 9), (4, 6, 1, 4, 6), (1, 1, 3, 4, 4), (9, 4, 3, 6, 7)]

lines = []
for width, height, channels, *size in RESIZES:
    out = draw(width, height, channels).resize(tuple(size), Image.Resampling.BILINEAR)
    lines.append(f"resize {width} {height} {channels} {size[0]} {size[1]} {fnv(out)}")
for width, height, size in SHORTS:
    lines.append("short {} {} {} {} {}".format(width, height, size, *short_side(width, height, size)))
for width, height, channels, *size in CROPS:
    out = center_crop(draw(width, height, channels), *size)
    lines.append(f"crop {width} {height} {channels} {size[0]} {size[1]} {fnv(out)}")
pathlib.Path(__file__).with_name("resize.txt").write_text("\n".join(lines) + "\n")
