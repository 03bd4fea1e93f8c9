"""Decoding the region of a crop gives the pixels of decoding the photo whole; the rest falls back to that."""

from __future__ import annotations

import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from pretrain.stream import chance, jpeg_regions, transforms
from pretrain.stream.transforms import TrainCrop
from wsl_det.core.photos import BadImage
from wsl_det.errors import ConfigError

needs_library = pytest.mark.skipif(
    jpeg_regions.find() is None, reason="no libjpeg-turbo 3: pip install turbojpeg"
)


def encoded(width: int, height: int, seed: int = 0, mode: str = "RGB", **options: object) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 5), -(-width // 5), 3), dtype=np.uint8)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    packed = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(packed, "JPEG", **{"quality": 90, **options})
    return packed.getvalue()


def chances(number: int) -> list[list[float]]:
    n = transforms.NUM_CHANCES
    return chance.uniforms(3, np.arange(number * n, dtype=np.uint64)).reshape(number, n).tolist()


@pytest.fixture
def regions() -> jpeg_regions.RegionDecoder:
    found = jpeg_regions.find()
    assert found is not None
    return found


@needs_library
@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": 0},
        {"subsampling": 1},
        {"subsampling": 2},
        {"subsampling": 2, "progressive": True},
        {"mode": "L"},
        {"restart_marker_blocks": 3},
    ],
)
@pytest.mark.parametrize("size", [(333, 251), (64, 64), (17, 130)])
def test_a_region_holds_the_pixels_of_the_whole(regions, options: dict, size: tuple[int, int]) -> None:
    data = encoded(*size, **options)
    rng = np.random.default_rng(1)
    for reduction, flag in (
        (1, cv2.IMREAD_COLOR),
        (2, cv2.IMREAD_REDUCED_COLOR_2),
        (4, cv2.IMREAD_REDUCED_COLOR_4),
    ):
        whole = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
        height, width = whole.shape[:2]
        boxes = [(0, 0, width, height), (width - 1, height - 1, 1, 1), (0, height // 2, width, 1)]
        for _ in range(10):
            x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
            boxes.append((x, y, int(rng.integers(1, width - x + 1)), int(rng.integers(1, height - y + 1))))
        for x, y, w, h in boxes:
            part = regions.decode(data, (x, y, w, h), reduction)
            np.testing.assert_array_equal(part, whole[y : y + h, x : x + w])


@needs_library
@pytest.mark.parametrize("reduce", [False, True])
def test_crops_are_the_same_with_and_without(regions, reduce: bool) -> None:
    for seed, row in enumerate(chances(12)):
        data = encoded(190 + 31 * seed, 150 + 17 * seed, seed)
        plain, fast = (TrainCrop(48, reduce=reduce, regions=r)(data, row) for r in (None, regions))
        np.testing.assert_array_equal(fast, plain)


@needs_library
def test_what_is_no_sound_jpeg_goes_the_usual_way(regions) -> None:
    row, crop, plain = chances(1)[0], TrainCrop(32, regions=regions), TrainCrop(32)
    photo = encoded(120, 90)
    packed = io.BytesIO()
    Image.fromarray(np.full((60, 80, 3), 7, np.uint8)).save(packed, "PNG")
    for data in (packed.getvalue(), encoded(90, 70, mode="CMYK")):
        np.testing.assert_array_equal(crop(data, row), plain(data, row))
    with pytest.raises(BadImage, match="truncated"):
        crop(photo[: len(photo) // 2], row)
    with pytest.raises(BadImage, match="120x90 pixels, more than 100"):
        TrainCrop(32, regions=regions, max_pixels=100)(photo, row)
    with pytest.raises(BadImage):
        crop(b"", row)


@needs_library
def test_damaged_files_never_differ_from_the_usual_way(regions) -> None:
    photo, rng, row = encoded(150, 110), np.random.default_rng(5), chances(1)[0]
    for _ in range(150):
        data = bytearray(photo)
        for place in rng.integers(2, len(data), 3):
            data[place] = rng.integers(0, 256)
        outcomes = []
        for crop in (TrainCrop(32), TrainCrop(32, regions=regions)):
            try:
                outcomes.append(crop(bytes(data), row))
            except BadImage as error:
                outcomes.append(str(error))
        np.testing.assert_array_equal(*outcomes)
    assert regions.decode(photo, (10, 10, 50, 50)) is not None  # no error is left behind


@needs_library
def test_threads_share_a_decoder_and_processes_find_their_own(regions) -> None:
    data, rows = [encoded(200, 150, seed) for seed in range(4)], chances(40)
    crop = TrainCrop(40, regions=regions)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: crop(data[i % 4], rows[i]), range(40)))
    for i, pixels in enumerate(together):
        np.testing.assert_array_equal(pixels, TrainCrop(40)(data[i % 4], rows[i]))
    assert pickle.loads(pickle.dumps(regions)) is regions


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_only_photos_that_are_turned_count_as_turned(orientation: int, order: str) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif[0x0112], exif[0x0110] = orientation, "camera"
    data = encoded(40, 30, exif=exif)
    info = transforms.jpeg_info(data)
    assert info is not None and info.oriented == (orientation != 1)
    row = chances(1)[0]
    np.testing.assert_array_equal(
        TrainCrop(16, regions=jpeg_regions.find())(data, row), TrainCrop(16)(data, row)
    )


def test_exif_that_is_not_understood_is_left_to_the_decoder() -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    whole = exif.tobytes()
    for cut in (6, 10, 14, 18, len(whole) - 8):
        info = transforms.jpeg_info(encoded(40, 30, exif=whole[:cut]))
        assert info is not None and info.oriented


def test_the_switch_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert jpeg_regions.choose("off") is None
    with pytest.raises(ConfigError, match="expected auto, on or off"):
        jpeg_regions.choose("yes")
    monkeypatch.setattr(jpeg_regions, "_candidates", lambda: ["libm.so.6", "nothing.so"])
    monkeypatch.setattr(jpeg_regions, "find", jpeg_regions.find.__wrapped__)
    assert jpeg_regions.choose("auto") is None
    with pytest.raises(ConfigError, match="pip install turbojpeg"):
        jpeg_regions.choose("on")


@needs_library
def test_a_library_whose_pixels_differ_is_not_used(regions, monkeypatch: pytest.MonkeyPatch) -> None:
    assert jpeg_regions.agrees(regions)
    decode = jpeg_regions.RegionDecoder.decode
    monkeypatch.setattr(jpeg_regions.RegionDecoder, "decode", lambda self, *a: decode(self, *a) ^ np.uint8(1))
    assert not jpeg_regions.agrees(regions)
