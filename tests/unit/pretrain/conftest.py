"""Fixtures: a tiny world of posts and photos, made in code, so that no real photo is needed."""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

CAPTIONS = {
    "p1": ("a.jpg", "What a #Brown_Bear! #tbt"),
    "p2": ("b.jpg", "#UrsusArctos #brownbear in #Alaska"),
    "p3": ("c.jpg", "#brownbears #goldfish"),
    "p4": ("d.jpg", "#crane"),
    "p5": ("e.jpg", "nothing to say"),
    "p6": ("f.jpg", "#love #GoldFish #carassius_auratus https://x.org/#crane"),
}


def jpeg(seed: int, size: tuple[int, int] = (24, 16), **save: object) -> bytes:
    """A small JPEG with smooth colours that depend on ``seed``."""
    chance = np.random.default_rng(seed)
    coarse = Image.fromarray(chance.integers(0, 255, (4, 4, 3), dtype=np.uint8))
    packed = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(packed, "JPEG", quality=90, **save)
    return packed.getvalue()


def write_posts(path: Path, captions: dict[str, tuple[str, str]] | None = None) -> Path:
    """A jsonl file of posts."""
    rows = [
        {"id": name, "image": image, "caption": text}
        for name, (image, text) in (CAPTIONS if captions is None else captions).items()
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_images(folder: Path) -> Path:
    """One sound JPEG for every post."""
    folder.mkdir()
    for number, (image, _) in enumerate(CAPTIONS.values()):
        (folder / image).write_bytes(jpeg(number))
    return folder


@pytest.fixture(scope="session")
def world():
    """The captions and the functions that write them and their photos."""
    return SimpleNamespace(captions=CAPTIONS, jpeg=jpeg, write_posts=write_posts, write_images=write_images)


@pytest.fixture(scope="session")
def tool():
    """``main`` of a tool by name, loaded from its file: tools are no package."""

    def load(name: str):
        path = Path(__file__).parents[3] / "tools" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"tool_{name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.main

    return load
