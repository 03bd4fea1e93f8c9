"""One rule of reading photos at every door: detection, shards, training, duplicates, transfer."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from pretrain.duplicates import rmac
from pretrain.shards import images as shard_images
from pretrain.stream import transforms
from pretrain.transfer import folders
from wsl_det.core import photos
from wsl_det.core.photos import BadImage
from wsl_det.detector import images

SIDE = 32


def _shards(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(shard_images.to_jpeg(data))).convert("RGB"))


# Every way a photo comes in, as (32, 32, 3) RGB; the file is the one that people have.
DOORS: dict[str, Callable[[bytes, Path], np.ndarray]] = {
    "detection": lambda data, path: images.read_image(path, "RGB"),
    "shards": lambda data, path: _shards(data),
    "training": lambda data, path: transforms.decode(data, max_pixels=1 << 20)[:, :, ::-1],
    "duplicates": lambda data, path: rmac.square(data, SIDE),
    "transfer": lambda data, path: folders.pixels(data, transforms.TestCrop(SIDE, SIDE)),
}


def _packed(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def _deep() -> dict[str, bytes]:
    ramp = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) * 60
    pixels = {"I;16": ramp.astype(np.uint16), "I": ramp.astype(np.int32), "F": ramp.astype(np.float32)}
    made = {f"{mode} tiff": _packed(Image.fromarray(values), "TIFF") for mode, values in pixels.items()}
    big = Image.fromarray(pixels["I;16"].byteswap().view(">u2"))
    return made | {
        "I;16 png": _packed(Image.fromarray(pixels["I;16"]), "PNG"),
        f"{big.mode} tiff": _packed(big, "TIFF"),
    }


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", _deep())
def test_deep_grays_are_refused_with_a_word_at_every_door(kind: str, door: str, tmp_path: Path) -> None:
    path = tmp_path / ("deep.png" if "png" in kind else "deep.tif")
    path.write_bytes(_deep()[kind])
    with pytest.raises(BadImage, match=r"more than 8 bits a channel \((I|F)"):
        DOORS[door](path.read_bytes(), path)


def _shallow() -> dict[str, tuple[bytes, np.ndarray]]:
    """Files whose pixels are known: flat colours, so that JPEG keeps them."""
    red = (200, 30, 40)
    plain = Image.new("RGB", (SIDE, SIDE), red)
    clear = Image.new("RGBA", (SIDE, SIDE), (*red, 0))
    half = Image.new("RGBA", (SIDE, SIDE), (*red, 128))
    palette = plain.quantize(2)
    deep = np.full((SIDE, SIDE, 3), (40, 30, 200), np.uint16) * 256 + 77
    white, mixed = (255, 255, 255), tuple(round(c * 128 / 255 + 255 * 127 / 255) for c in red)
    return {
        "16-bit colour png": (cv2.imencode(".png", deep)[1].tobytes(), red),
        "16-bit colour tiff": (cv2.imencode(".tiff", deep)[1].tobytes(), red),
        "clear png": (_packed(clear, "PNG"), white),
        "half png": (_packed(half, "PNG"), mixed),
        "clear webp": (_packed(clear, "WEBP", lossless=True, exact=True), white),
        "palette png": (_packed(palette, "PNG"), red),
        "palette png, transparent": (_packed(palette, "PNG", transparency=palette.getpixel((0, 0))), white),
        "rgb png, transparent colour": (_packed(plain, "PNG", transparency=red), white),
        "gray png, transparent level": (
            _packed(Image.new("L", (SIDE, SIDE), 9), "PNG", transparency=9),
            white,
        ),
        "LA png": (_packed(Image.new("LA", (SIDE, SIDE), (60, 0)), "PNG"), white),
        "gif, transparent": (_packed(Image.new("P", (SIDE, SIDE), 0), "GIF", transparency=0), white),
        "CMYK jpeg": (_packed(Image.new("CMYK", (SIDE, SIDE), (55, 225, 215, 0)), "JPEG"), red),
        "CMYK tiff": (_packed(Image.new("CMYK", (SIDE, SIDE), (55, 225, 215, 0)), "TIFF"), red),
        "one bit png": (_packed(Image.new("1", (SIDE, SIDE), 1), "PNG"), white),
    }


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", _shallow())
def test_colours_are_the_same_at_every_door(kind: str, door: str, tmp_path: Path) -> None:
    data, expected = _shallow()[kind]
    path = tmp_path / "photo"
    path.write_bytes(data)
    found = DOORS[door](data, path)
    assert found.shape == (SIDE, SIDE, 3)
    assert np.abs(found.astype(int) - np.array(expected)).max() <= 3


@pytest.mark.parametrize("value", range(1, 9))
def test_turns_are_pillows(value: int) -> None:
    pixels = np.random.default_rng(value).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    stated = Image.fromarray(pixels)
    stated.getexif()[photos.TAG] = value
    assert (np.asarray(photos.upright(image, value)) == np.asarray(ImageOps.exif_transpose(stated))).all()
    assert photos.upright_size(stated) == ImageOps.exif_transpose(stated).size[::-1]


def _twelve_bits() -> bytes:
    frame = b"\xff\xc1\x00\x0b\x0c\x00\x10\x00\x10\x01\x01\x11\x00"
    return b"\xff\xd8\xff\xe0\x00\x04\0\0" + frame + bytes(40) + b"\xff\xd9"


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC: save it as JPEG"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC: save it as JPEG"),
        (b"\0\0\0\0ftypmif1\0\0\0\0avifmif1", "AVIF: save it as JPEG"),
        (_twelve_bits(), "a JPEG of 12 bits: save it with 8"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (b"<!DOCTYPE html><title>sign in</title>", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        (b'{"message": "Not Found"}', "not an image but JSON text"),
        (b"PK\x03\x04" + bytes(20), "not an image but a zip archive: unpack it first"),
        (b"", "empty file"),
        (b"nothing", "not an image"),
    ],
)  # fmt: skip
def test_other_kinds_are_named(data: bytes, told: str, door: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(BadImage, match=told):
        DOORS[door](data, path)


def test_names_stay_in_the_folder_of_photos(tmp_path: Path) -> None:
    folder, outside = tmp_path / "photos", tmp_path / "secret"
    (folder / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "a.jpg").write_bytes(b"x")
    (folder / "sub" / "a.jpg").write_bytes(b"x")
    (folder / "inside.jpg").symlink_to("sub/a.jpg")
    (folder / "file.jpg").symlink_to(outside / "a.jpg")
    (folder / "way").symlink_to(outside)
    (tmp_path / "named").symlink_to(folder)
    for name in ("sub/a.jpg", "inside.jpg", "./sub//a.jpg", "not there.jpg"):
        photos.below(folder, name)
        photos.below(tmp_path / "named", name)
    for name in (
        "../secret/a.jpg",
        "sub/../../secret/a.jpg",
        str(outside / "a.jpg"),
        "file.jpg",
        "way/a.jpg",
    ):
        with pytest.raises(BadImage, match="leaves the image folder"):
            photos.below(folder, name)
    with pytest.raises(BadImage, match="leaves the image folder"):
        photos.below(folder, "a\0.jpg")
