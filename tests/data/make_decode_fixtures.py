"""Writes images/*.png, images/*.jpg and images/expected.npz: what Pillow converts each to, as NAME.rgb and NAME.l.

Use: python make_decode_fixtures.py   (needs numpy and pillow; run with pillow 13.0)
The PNG files hold every colour type and depth that Pillow reads, the JPEG files every kind of frame that is decoded.
"""

import io
import pathlib
import struct
import zlib

import numpy
from PIL import Image

FOLDER = pathlib.Path(__file__).with_name("images")
WIDTH, HEIGHT = 19, 13


def png(depth, colour, samples, extra=b""):
    """A PNG of exactly this colour type and depth; `samples` are the bytes of each row."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + row for row in samples)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


def rows(channels, depth):
    """Rows of packed samples, from a formula."""
    out = []
    for y in range(HEIGHT):
        bits = ""
        for x in range(WIDTH):
            for c in range(channels):
                value = (x * 3361 + y * 1777 + c * 9001 + x * y * 57) % 65536 >> (16 - depth)
                # 16-bit luminance below 256 too, which Pillow does not clip.
                value = value >> 8 if depth == 16 and (x + y) % 3 == 0 else value
                bits += f"{value:0{depth}b}"
        bits += "0" * (-len(bits) % 8)
        out.append(int(bits, 2).to_bytes(len(bits) // 8, "big"))
    return out


def palette(depth):
    colours = b"".join(bytes([(i * 37) % 256, (i * 91 + 5) % 256, 255 - i]) for i in range(1 << depth))
    data = struct.pack(">I", len(colours)) + b"PLTE" + colours
    return data + struct.pack(">I", zlib.crc32(data[4:]))


def transparent(values):
    data = struct.pack(">I", len(values)) + b"tRNS" + values
    return data + struct.pack(">I", zlib.crc32(data[4:]))


def photo():
    """A smooth image with edges, such as a camera makes."""
    y, x = numpy.mgrid[:HEIGHT * 3, :WIDTH * 3]
    planes = [128 + 90 * numpy.sin(x / 9 + k) * numpy.cos(y / 7 - k) + 30 * ((x + y * k) // 17 % 2) for k in range(3)]
    return Image.fromarray(numpy.clip(numpy.stack(planes, -1), 0, 255).astype(numpy.uint8))


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


files = {f"gray{depth}.png": png(depth, 0, rows(1, depth)) for depth in (1, 2, 4, 8, 16)}
files |= {f"palette{depth}.png": png(depth, 3, rows(1, depth), palette(depth)) for depth in (1, 2, 4, 8)}
files |= {f"rgb{depth}.png": png(depth, 2, rows(3, depth)) for depth in (8, 16)}
files |= {f"rgba{depth}.png": png(depth, 6, rows(4, depth)) for depth in (8, 16)}
files |= {f"la{depth}.png": png(depth, 4, rows(2, depth)) for depth in (8, 16)}
files["palette_transparent.png"] = png(4, 3, rows(1, 4), palette(4) + transparent(bytes([0, 128, 255])))
files["gray_transparent.png"] = png(8, 0, rows(1, 8), transparent(b"\0\x30"))
files["rgb_transparent.png"] = png(8, 2, rows(3, 8), transparent(bytes([0, 1, 0, 2, 0, 3])))
files["gray.jpg"] = jpeg(photo().convert("L"), quality=90)
files["444.jpg"] = jpeg(photo(), quality=90, subsampling=0)
files["422.jpg"] = jpeg(photo(), quality=85, subsampling=1)
files["420.jpg"] = jpeg(photo(), quality=75, subsampling=2)
files["progressive.jpg"] = jpeg(photo(), quality=80, progressive=True)
files["restart.jpg"] = jpeg(photo(), quality=80, restart_marker_blocks=3)
files["cmyk.jpg"] = jpeg(photo().convert("CMYK"), quality=90)
files["rgb.jpg"] = jpeg(photo(), quality=90, keep_rgb=True)
files["one.jpg"] = jpeg(photo().crop((5, 5, 6, 6)), quality=90)

FOLDER.mkdir(exist_ok=True)
expected = {}
for name, data in files.items():
    FOLDER.joinpath(name).write_bytes(data)
    image = Image.open(io.BytesIO(data))
    expected[f"{name}.rgb"] = numpy.asarray(image.convert("RGB"))
    expected[f"{name}.l"] = numpy.asarray(image.convert("L"))
numpy.savez_compressed(FOLDER / "expected.npz", **expected)
