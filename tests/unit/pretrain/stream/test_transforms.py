"""Decoding and cropping: geometry by hand, pixels against full decoding, bad bytes named."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop

from pretrain.stream import chance, transforms
from pretrain.stream.transforms import Box, JpegInfo, TestCrop, TrainCrop
from wsl_det.core.photos import BadImage

WHOLE = {"area": (1.0, 1.0), "ratio": (1.0, 1.0)}


def photo(height: int, width: int, patch: int = 16) -> np.ndarray:
    """A smooth RGB picture without symmetry, uint8; colours change over ``patch`` pixels."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (max(2, height // patch), max(2, width // patch), 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    return cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def turned(data: bytes, orientation: int) -> bytes:
    """The JPEG with an EXIF block that says how the camera was held."""
    tiff = (
        b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01"
        + bytes([0, orientation])
        + b"\x00" * 6
    )
    block = b"Exif\x00\x00" + tiff
    return data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:]


def chances(number: int, key: int = 0) -> list[list[float]]:
    n = transforms.NUM_CHANCES
    return chance.uniforms(key, np.arange(number * n, dtype=np.uint64)).reshape(number, n).tolist()


def test_header_tells_the_size_and_whether_there_is_exif() -> None:
    data = jpeg(photo(40, 70))
    assert transforms.jpeg_info(data) == JpegInfo(70, 40, False)
    assert transforms.jpeg_info(turned(data, 6)) == JpegInfo(70, 40, True)
    assert transforms.jpeg_info(b"\x89PNG") is None
    assert transforms.jpeg_info(data[:20]) is None


def test_photos_are_turned_upright() -> None:
    pixels = photo(40, 70)
    upright = transforms.decode(turned(jpeg(pixels), 6), max_pixels=10_000)
    # Orientation 6: the camera was turned a quarter, so the photo is rotated clockwise.
    want = transforms.decode(jpeg(pixels), max_pixels=10_000)
    np.testing.assert_array_equal(upright, np.rot90(want, -1))


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda data: b"", "empty file"),
        (lambda data: b"hello, I am a caption", "not an image"),
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: data[:2], "not an image"),
    ],
)
def test_unreadable_bytes_are_named(spoil, word: str, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(BadImage, match=word):
        transforms.decode(spoil(jpeg(photo(64, 64))), max_pixels=10_000)


def test_huge_photos_are_refused_before_decoding() -> None:
    data = bytearray(jpeg(photo(16, 16)))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = b"\xff\xff\xff\xff"  # the header now announces 65535 x 65535
    with pytest.raises(BadImage, match="65535x65535 pixels, more than 1000000"):
        transforms.decode(bytes(data), max_pixels=1_000_000)


def test_random_boxes_lie_inside_and_keep_their_ranges() -> None:
    areas, ratios = [], []
    for row in chances(3000):
        box = transforms.random_box(320, 240, row, area=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
        assert box.x >= 0 and box.y >= 0 and box.x + box.width <= 320 and box.y + box.height <= 240
        areas.append(box.width * box.height / (320 * 240))
        ratios.append(box.width / box.height)
    # Whole pixels move a small box's area and ratio by a few percent.
    assert min(areas) > 0.075 and max(areas) <= 1
    assert min(ratios) > 0.73 and max(ratios) < 1.37
    theirs = _torchvision_boxes(320, 240, 3000)
    # Standard deviations of the two means: 0.23 / sqrt(3000) and 0.16 / sqrt(3000); five of them.
    assert abs(np.mean(areas) - np.mean([w * h for w, h in theirs]) / (320 * 240)) < 0.03
    assert abs(np.mean(np.log(ratios)) - np.mean([np.log(w / h) for w, h in theirs])) < 0.02


def _torchvision_boxes(width: int, height: int, number: int) -> list[tuple[int, int]]:
    image = torch.zeros(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(number)]
    return [(w, h) for _, _, h, w in found]


def test_boxes_reach_every_place() -> None:
    boxes = [transforms.random_box(8, 8, row, area=(0.25, 0.25), ratio=(1.0, 1.0)) for row in chances(2000)]
    assert {b.x for b in boxes} == {b.y for b in boxes} == {0, 1, 2, 3, 4}
    counts = np.bincount([b.x for b in boxes])
    # 400 expected in each of 5 places, standard deviation 18.
    assert np.abs(counts - 400).max() < 90


def test_shapes_that_never_fit_take_the_largest_centred_box() -> None:
    box = transforms.random_box(400, 40, chances(1)[0], area=(1.0, 1.0), ratio=(3 / 4, 4 / 3))
    assert box == Box(173, 0, 53, 40)
    tall = transforms.random_box(40, 400, chances(1)[0], area=(1.0, 1.0), ratio=(3 / 4, 4 / 3))
    assert tall == Box(0, 173, 40, 53)


def test_centre_box_is_what_resize_and_cut_shows() -> None:
    assert transforms.centre_box(640, 512, size=224, resize=256) == Box(96, 32, 448, 448)
    assert transforms.centre_box(64, 64, size=64, resize=64) == Box(0, 0, 64, 64)


def test_whole_photo_unchanged_in_rgb() -> None:
    pixels = photo(32, 32)
    crop = TrainCrop(32, flip=False, **WHOLE)(jpeg(pixels, 100), chances(1)[0])
    # JPEG at quality 100 with subsampled colours: a few levels on a smooth picture.
    assert np.abs(crop.astype(int) - pixels).mean() < 3
    assert np.abs(crop.astype(int) - pixels[:, :, ::-1]).mean() > 10


def test_flip_happens_for_half_of_the_chances() -> None:
    data, rows = jpeg(photo(32, 32)), chances(400)
    plain = TrainCrop(32, flip=False, **WHOLE)(data, rows[0])
    flipped = [not np.array_equal(TrainCrop(32, **WHOLE)(data, row), plain) for row in rows]
    assert 160 < sum(flipped) < 240  # standard deviation 10
    row = rows[flipped.index(True)]
    np.testing.assert_array_equal(TrainCrop(32, **WHOLE)(data, row), plain[:, ::-1])


def test_crops_depend_on_their_chances_alone() -> None:
    data, (first, second) = jpeg(photo(90, 120)), chances(2)
    crop = TrainCrop(32)
    assert np.array_equal(crop(data, first), crop(data, first))
    assert not np.array_equal(crop(data, first), crop(data, second))


def test_reduced_decoding_moves_edges_by_at_most_half_a_pixel_of_the_result() -> None:
    size = 32
    for row in chances(300):
        box = transforms.random_box(1000, 700, row, area=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
        for reduction in (2, 4, 8):
            if reduction * size > min(box.width, box.height):
                continue
            small = transforms.reduced_box(box, reduction)
            scale = box.width / size, box.height / size  # photo pixels in one pixel of the result
            edges = np.array(
                [
                    (small.x * reduction - box.x) / scale[0],
                    ((small.x + small.width) * reduction - box.x - box.width) / scale[0],
                    (small.y * reduction - box.y) / scale[1],
                    ((small.y + small.height) * reduction - box.y - box.height) / scale[1],
                ]
            )
            assert np.abs(edges).max() <= 0.5
            assert small.width >= size and small.height >= size


def test_reduced_decoding_shows_the_same_picture() -> None:
    data = jpeg(photo(700, 1000, patch=100))
    differences = []
    for row in chances(40):
        full, fast = TrainCrop(48)(data, row), TrainCrop(48, reduce=True)(data, row)
        differences.append(np.abs(full.astype(int) - fast).mean())
    # Half a pixel of shift on a smooth picture; a wrong box would differ by tens of levels.
    assert 0 < np.mean(differences) < 4 and max(differences) < 8


def test_reduced_decoding_leaves_turned_photos_alone() -> None:
    data = turned(jpeg(photo(400, 600)), 6)
    row = chances(1)[0]
    np.testing.assert_array_equal(TrainCrop(32, reduce=True)(data, row), TrainCrop(32)(data, row))


def test_test_crop_is_the_middle() -> None:
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[:, 30:70] = (200, 30, 90)
    crop = TestCrop(32, 64)(jpeg(pixels, 100), ())
    assert crop.shape == (32, 32, 3)
    assert np.abs(crop.astype(int) - (200, 30, 90)).max() < 12
