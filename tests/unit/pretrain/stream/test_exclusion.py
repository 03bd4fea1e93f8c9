"""DATA.VERDICTS: copies of test images are not drawn, the checkpoint says so, other verdicts are refused."""

from __future__ import annotations

import json
from pathlib import Path

import duplicate_world as world
import numpy as np
import pytest

from pretrain.shards import index
from pretrain.training import defaults, job
from wsl_det import errors
from wsl_det.core import checkpoint, config
from wsl_det.errors import DataError

COPIES = {0: 3, 1: 7, 2: 20}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """shards/ and v.json: training photos 3 and 7 are copies, 20 is not."""
    path = tmp_path_factory.mktemp("exclusion")
    posts = index.open_index(world.shards(path))
    given = {3: "yes", 7: "yes", 20: "no"}
    rows = [
        {"pair": i, "set": "val", "image": f"{i}.jpg", "image_id": i, "train": posts.key(row)}
        | {"train_row": row, "score": 0.99, "verdict": verdict}
        for i, (row, verdict) in enumerate(given.items())
    ]
    made = {"candidates": {"sha256": "c" * 64}, "train": {"sha256": posts.sha256}}
    sets = [{"name": "val", "kind": "coco", "sha256": "f" * 64, "images": 7}]
    head = {"kind": "duplicate verdicts", "schema": 1, "made_from": made, "reader": "ann"}
    value = {**head, "sets": sets, "pairs": 4, "verdicts": rows}
    (path / "v.json").write_text(json.dumps(value))
    return path


def tiny(folder: Path, output: Path, **more: object) -> list[str]:
    given = {
        "DATA.SHARDS": folder / "shards", "OUTPUT_DIR": output, "DATA.HELDOUT": 0.0, "MODEL.DEVICE": "cpu",
        "MODEL.BLOCKS": "[1,1,1,1]", "MODEL.GROUPS": 2, "MODEL.WIDTH_PER_GROUP": 4, "MODEL.RES2_CHANNELS": 16,
        "MODEL.BN_GROUP": 4, "INPUT.SIZE": 32, "INPUT.TEST_RESIZE": 32, "SOLVER.IMS_PER_BATCH": 8,
        "SOLVER.TOTAL_IMAGES": 16, "SOLVER.WARMUP_UPDATES": 1, "DATA.NUM_THREADS": 1, **more,
    }  # fmt: skip
    return [str(word) for pair in given.items() for word in pair]


def prepared(folder: Path, output: Path, **more: object) -> job.Job:
    path = folder / "empty.yaml"
    path.write_text("{}")
    return job.prepare(config.load(path, defaults.TREE, tiny(folder, output, **more)))


def test_copies_are_not_drawn_and_the_stream_has_another_name(folder: Path, tmp_path: Path) -> None:
    plain = prepared(folder, tmp_path)
    cut = prepared(folder, tmp_path, **{"DATA.VERDICTS": folder / "v.json"})
    assert (plain.stream.num_images, cut.stream.num_images) == (world.TRAIN, world.TRAIN - 2)
    drawn = set(cut.stream.take(0, cut.stream.epoch(0).draws).tolist())
    assert drawn == set(range(world.TRAIN)) - {3, 7}
    assert plain.stream_hash != cut.stream_hash
    assert np.setdiff1d(plain.stream.take(0, plain.stream.epoch(0).draws), list(drawn)).tolist() == [3, 7]


def test_a_run_says_what_it_left_out(folder: Path, tmp_path: Path, tool, capsys) -> None:
    (tmp_path / "tiny.yaml").write_text("{}")
    main, cfg = tool("pretrain_net"), ["--config-file", str(tmp_path / "tiny.yaml")]
    words = tiny(folder, tmp_path / "run", **{"DATA.VERDICTS": folder / "v.json"})
    assert errors.run(main, [*cfg, *words]) == 0
    said = capsys.readouterr()
    assert "2 training images are excluded as duplicates by the verdicts of ann" in said.out + said.err
    header = checkpoint.load_weights(tmp_path / "run/model_final.pth")["wsl_det"]
    assert header["verdicts"]["excluded"] == 2
    assert header["verdicts"]["candidates"] == "c" * 64


def test_a_resumed_run_needs_the_same_verdicts_wherever_they_lie(folder: Path, tmp_path: Path) -> None:
    copy, other = tmp_path / "copy.json", tmp_path / "other.json"
    copy.write_text((folder / "v.json").read_text())
    other.write_text(copy.read_text().replace('"ann"', '"bob"'))

    def named(path: object) -> dict:
        words = tiny(folder, tmp_path, **{"DATA.VERDICTS": path})
        cfg = config.load(folder / "empty.yaml", defaults.TREE, words)
        return job.fingerprint(cfg, job.prepare(cfg))

    (folder / "empty.yaml").write_text("{}")
    assert named(folder / "v.json") == named(copy)
    assert named(copy) != named(other)
    assert named("''") != named(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["made_from"]["train"].update(sha256="0" * 64), "judges other shards"),
        (lambda v: v["verdicts"][0].update(train_row=4), "which is not in"),
        (lambda v: v["verdicts"][0].update(train_row=4000), "which is not in"),
    ],
)
def test_verdicts_about_other_shards_are_refused(folder: Path, tmp_path: Path, change, message) -> None:
    value = json.loads((folder / "v.json").read_text())
    change(value)
    (tmp_path / "v.json").write_text(json.dumps(value))
    with pytest.raises(DataError, match=message):
        prepared(folder, tmp_path, **{"DATA.VERDICTS": tmp_path / "v.json"})
