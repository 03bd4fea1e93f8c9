"""Batches are a function of seed and position; bad files are counted, and too many stop the run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from wsl_det.detector import coco_records, images, loader
from wsl_det.errors import ConfigError, DataError


def records(scenes, name="train"):
    return list(coco_records.read(*scenes[name], name).records)


def batches(cfg, found, count, **where):
    budget = loader.Budget(len(found), cfg.WSL_DET.BAD_IMAGE_BUDGET)
    where = {"seed": 5, "rank": 0, "world_size": 1, "start": 0, **where}
    return list(islice(loader.training_batches(cfg, found, budget, **where), count)), budget


def signature(batch):
    return [
        (e.image_id, tuple(e.image.shape), int(e.image.sum()), e.target.boxes_xyxy.tolist()) for e in batch
    ]


def test_batches_do_not_depend_on_workers_and_resume_in_place(scenes, tiny):
    found = records(scenes)
    alone, _ = batches(tiny(), found, 8)
    with_workers, _ = batches(tiny("DATALOADER.NUM_WORKERS", 2), found, 8)
    resumed, _ = batches(tiny(), found, 3, start=5)
    expected = [signature(b) for b in alone]
    assert [signature(b) for b in with_workers] == expected
    assert [signature(b) for b in resumed] == expected[5:]
    assert len({s for b in expected for _, s, *_ in b}) > 2


def test_batches_hold_one_orientation(scenes, tiny):
    for batch in batches(tiny(), records(scenes), 10)[0]:
        assert len({e.width > e.height for e in batch}) == 1


def _lost_batches(found, cfg, after):
    """Batches from one worker, after the first of which ``after`` is called with its process id."""
    budget = loader.Budget(len(found), 0.0)
    stream = loader.training_batches(cfg, found, budget, seed=5, rank=0, world_size=1, start=0)
    next(stream)
    workers = multiprocessing.active_children()
    for worker in workers:
        after(worker.pid)
    time.sleep(0.2)  # nothing is raised between two batches, where a step would be under way
    return [signature(batch) for batch in islice(stream, 8)], workers


def test_a_killed_worker_is_told(scenes, tiny):
    with pytest.raises(DataError, match=r"a process of the loader died .* continue with --resume"):
        _lost_batches(
            records(scenes), tiny("DATALOADER.NUM_WORKERS", 1), lambda p: os.kill(p, signal.SIGKILL)
        )


def test_signals_to_the_whole_group_leave_the_workers_to_the_trainer(scenes, tiny):
    def from_outside(pid: int) -> None:
        for name in ("TERM", "INT", "HUP"):
            subprocess.run(["kill", f"-{name}", str(pid)], check=True)

    found, cfg = records(scenes), tiny("DATALOADER.NUM_WORKERS", 1)
    batches_, workers = _lost_batches(found, cfg, from_outside)
    assert batches_ == _lost_batches(found, tiny(), from_outside)[0]
    workers[0].terminate()  # and the trainer can still end them
    workers[0].join(10)
    assert not workers[0].is_alive()


def test_a_full_shared_memory_is_told(scenes, tiny, monkeypatch):
    def full(*_):  # what torch raises, in the worker, whose copy of this process has it too
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left")

    monkeypatch.setattr(loader, "ForkingPickler", SimpleNamespace(dumps=full))
    with pytest.raises(DataError, match=r"/dev/shm .*--shm-size.* DATALOADER.NUM_WORKERS 0"):
        batches(tiny("DATALOADER.NUM_WORKERS", 1), records(scenes), 1)


def test_the_global_generator_is_left_alone(scenes, tiny):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    batches(tiny("DATALOADER.NUM_WORKERS", 1), records(scenes), 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_ranks_split_the_stream(scenes, tiny):
    found = records(scenes)
    cfg = tiny("SOLVER.IMS_PER_BATCH", 4, "DATALOADER.ASPECT_RATIO_GROUPING", False)
    parts = [batches(cfg, found, 2, rank=r, world_size=2)[0] for r in range(2)]
    seen = [e.image_id for part in parts for b in part for e in b]
    assert sorted(seen) == sorted(r.image_id for r in found)
    with pytest.raises(ConfigError, match="IMS_PER_BATCH is 4 for 3"):
        batches(cfg, found, 1, world_size=3)


def spoil(scenes, number, how):
    path = Path(scenes["train"][1]) / f"{number}.png"
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:60])
    elif how == "text":
        path.write_text("not an image")
    else:
        Image.new("RGB", (10, 10)).save(path)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("missing", "does not exist"),
        ("truncated", ""),
        ("text", "not an image"),
        ("small", "annotations say"),
    ],
)
def test_an_unusable_image_is_replaced_counted_and_forgiven(scenes, tiny, how, reason):
    spoil(scenes, 2, how)
    found, budget = batches(tiny(), records(scenes), 8)
    assert all(len(b) == 2 for b in found)
    assert 12 not in {e.image_id for b in found for e in b}
    assert list(budget.bad) == [str(Path(scenes["train"][1]) / "2.png")]
    assert reason in budget.summary()


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_unusable_images_stop_the_run(scenes, tiny, workers):
    for number in (1, 2, 3):
        spoil(scenes, number, "missing")
    with pytest.raises(DataError, match=r"BAD_IMAGE_BUDGET 0\.01 allows \(1\)") as error:
        batches(tiny("DATALOADER.NUM_WORKERS", workers), records(scenes), 8)
    assert ".png: the file does not exist" in str(error.value)
    assert "Traceback" not in str(error.value)


def test_a_folder_of_bad_images_ends_with_the_reason(scenes, tiny):
    for number in range(8):
        spoil(scenes, number, "text")
    with pytest.raises(DataError, match="not an image"):
        batches(tiny("WSL_DET.BAD_IMAGE_BUDGET", 1.0), records(scenes), 1)


def test_no_budget_forgives_nothing(scenes, tiny):
    spoil(scenes, 2, "text")
    with pytest.raises(DataError, match="1 photos of 8"):
        batches(tiny("WSL_DET.BAD_IMAGE_BUDGET", 0.0), records(scenes), 8)


def test_test_examples_keep_the_order_and_the_original_frame(scenes, tiny):
    found = records(scenes, "val")
    spoiled = Path(scenes["val"][1]) / "1.png"
    spoiled.write_text("no image")
    budget = loader.Budget(3, 0.01)
    examples = list(loader.test_examples(tiny("DATALOADER.NUM_WORKERS", 2), found, budget))
    assert [e.image_id for e in examples] == [10, 12]
    assert [(e.height, e.width) for e in examples] == [(64, 48), (64, 48)]
    assert tuple(examples[0].image.shape) == (3, 85, 64)
    assert list(budget.bad) == [str(spoiled)]


def test_channel_order_and_format(scenes, tiny):
    path = Path(scenes["val"][1]) / "0.png"
    rgb, bgr = images.read_image(path, "RGB"), images.read_image(path, "BGR")
    assert (rgb[:, :, ::-1] == bgr).all()
    with pytest.raises(ConfigError, match=r"INPUT\.FORMAT is 'L'"):
        batches(tiny("INPUT.FORMAT", "L"), records(scenes), 1)
    with pytest.raises(ConfigError, match="SAMPLER_TRAIN"):
        batches(tiny("DATALOADER.SAMPLER_TRAIN", "Other"), records(scenes), 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    """PIL's own ImageOps.exif_transpose is the reference."""
    from PIL import ImageOps

    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[274] = orientation
    path = tmp_path / "turned.png"
    image.save(path, exif=exif)
    with Image.open(path) as file:
        expected = np.asarray(ImageOps.exif_transpose(file))
    size = (6, 4) if orientation >= 5 else (4, 6)
    assert (images.read_image(path, "RGB", size) == expected).all()
    with pytest.raises(images.BadImage, match="annotations say"):
        images.read_image(path, "RGB", size[::-1])


def test_greys_and_palettes_become_three_channels(tmp_path):
    for mode in ("L", "P", "LA", "CMYK"):
        path = tmp_path / f"{mode}.{'tif' if mode == 'CMYK' else 'png'}"
        Image.new(mode, (5, 3)).save(path)
        assert images.read_image(path, "RGB").shape == (3, 5, 3)


def test_packed_records_come_back_whole(scenes):
    found = records(scenes)
    packed = loader.PackedRecords(found)
    assert len(packed) == 8
    assert [r.image_id for r in packed] == [r.image_id for r in found]
    assert packed[7].annotations[1].box_xyxy == found[7].annotations[1].box_xyxy
