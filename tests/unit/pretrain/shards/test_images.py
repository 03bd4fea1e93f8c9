from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pretrain.shards import images
from wsl_det.core.photos import BadImage


def packed(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def opened(data):
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return image


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_sound_jpeg_keeps_its_bytes(mode, world):
    data = packed(Image.open(io.BytesIO(world.jpeg(1))).convert(mode), "JPEG")
    assert images.to_jpeg(data) is data


def test_orientation_is_applied(world):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows go down the right side
    data = world.jpeg(1, (40, 20), exif=exif)
    upright = opened(images.to_jpeg(data))
    assert upright.size == (20, 40) and upright.getexif().get(0x0112, 1) == 1
    turned = np.asarray(Image.open(io.BytesIO(data)).transpose(Image.Transpose.ROTATE_270), int)
    assert np.abs(np.asarray(upright, int) - turned).mean() < 3
    exif[0x0112] = 1
    plain = world.jpeg(1, (40, 20), exif=exif)
    assert images.to_jpeg(plain) is plain


@pytest.mark.parametrize(
    ("mode", "form"),
    [("RGB", "PNG"), ("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("P", "GIF"), ("1", "PNG"),
     ("RGB", "WEBP"), ("CMYK", "JPEG"), ("RGB", "BMP"), ("RGB", "TIFF")],
)  # fmt: skip
def test_other_formats_become_jpeg(mode, form):
    image = Image.new("RGB", (30, 20), (200, 30, 40)).convert(mode)
    result = opened(images.to_jpeg(packed(image, form)))
    assert result.size == (30, 20) and result.mode in ("RGB", "L")


def test_transparency_lies_on_white():
    image = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    assert np.asarray(opened(images.to_jpeg(packed(image, "PNG")))).min() >= 250
    indexed = Image.new("P", (16, 16), 0)
    data = packed(indexed, "GIF", transparency=0)
    assert np.asarray(opened(images.to_jpeg(data))).min() >= 250


def test_oversized_images_are_scaled_by_their_shorter_side(world):
    assert opened(images.to_jpeg(world.jpeg(1, (90, 60)), 30)).size == (45, 30)
    assert opened(images.to_jpeg(world.jpeg(1, (500, 3)), 2)).size == (333, 2)


def _png_header(width, height):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello", "not an image"),
        (b"<html>404</html>" * 100, "an HTML page"),
        (_png_header(60_000, 60_000), "too many pixels"),
        (_png_header(12_000, 12_000), "too many pixels"),
        (_png_header(20, 20), "truncated image"),
    ],
)
def test_what_is_no_image_is_rejected_with_a_reason(data, reason):
    with pytest.raises(BadImage, match=reason):
        images.to_jpeg(data)


def test_truncated_jpegs_are_rejected(world):
    data = world.jpeg(1, (200, 200))
    for keep in (0.3, 0.6, 0.9):
        with pytest.raises(BadImage, match=r"truncated image|broken image"):
            images.to_jpeg(data[: int(len(data) * keep)])


def test_16_bit_images_are_rejected_rather_than_clipped():
    image = Image.fromarray(np.full((8, 8), 40_000, np.uint16))
    with pytest.raises(BadImage, match="more than 8 bits"):
        images.to_jpeg(packed(image, "PNG"))


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 800), junk=st.binary(min_size=1, max_size=40), form=st.sampled_from(range(6)))
def test_damaged_files_never_escape(position, junk, form):
    image = Image.fromarray(np.arange(24 * 24 * 3, dtype=np.uint32).astype(np.uint8).reshape(24, 24, 3))
    data = packed(image, ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")[form])
    position %= len(data)
    damaged = data[:position] + junk + data[position + len(junk) :]
    try:
        Image.open(io.BytesIO(images.to_jpeg(damaged))).load()
    except BadImage as rejected:
        assert 5 < len(str(rejected)) < 60
