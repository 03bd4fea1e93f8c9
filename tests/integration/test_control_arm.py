"""Pretraining on true classes and on shuffled labels beside hashtags, and the branches of constant runs."""

# ruff: noqa: F811 (fixtures of another module)
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shard_folders
import torch
from test_pretrain import NAMES, config, pretrain, shards  # noqa: F401 (fixtures)

from wsl_det.backbone import export as backbone_export
from wsl_det.backbone import sources

SYNSETS = ("n02132136", "n01443537", "n02012849", "n02084071", "n01503061")


@pytest.fixture(scope="module")
def both(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's posts with a truth of 40 of its 48 photos."""
    work = shards.parent
    vocab = shard_folders.vocabulary(work / "true.json", NAMES, SYNSETS)
    rows = [{"id": f"p{i}", "synsets": [SYNSETS[i % 5]]} for i in range(40)]
    truth = shard_folders.write_lines(work / "truth.jsonl", rows)
    return shard_folders.build(work, vocab, tmp_path_factory.mktemp("both") / "shards", truth)


def read(run: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return json.loads((run / "results.json").read_text()), [json.loads(line) for line in lines]


def test_arms_differ_in_their_labels_alone(pretrain: Any, both: Path, tmp_path: Path) -> None:
    found = {}
    for kind in ("hashtags", "synsets", "shuffled"):
        keys = {"DATA.SHARDS": both, "DATA.LABELS": kind, "SEED": 3, "TEST.EVAL_PERIOD": 8}
        assert pretrain(tmp_path / kind, **keys) == 0
        found[kind] = read(tmp_path / kind)
    results, _ = found["hashtags"]
    assert {m["meta"]["stream"] for m, _ in found.values()} == {results["meta"]["stream"]}
    losses = {kind: rows[0]["loss"] for kind, (_, rows) in found.items()}
    assert len(set(losses.values())) == 3  # of other labels, from the same weights
    for kind, (told, rows) in found.items():
        record = told["pretraining"]
        assert (record["labels"], record["seed"], record["cooled"]) == (kind, 3, False)
        assert set(told["accuracy"]) == {"top1", "top5"} <= set(told["constant_guess"])
        assert "recall_any@1" in told["recall"] and "recall_any@1" in told["constant_guess"]
        assert any("top1" in row and row["iteration"] == 7 for row in rows)
        assert ("kept_by_chance" in record) == (kind == "shuffled")
    assert 0 <= found["shuffled"][0]["pretraining"]["kept_by_chance"] <= 1
    weights = torch.load(tmp_path / "synsets/model_final.pth", weights_only=True)
    assert weights["wsl_det"]["pretraining"]["labels"] == "synsets"


def test_older_runs_are_resumed(pretrain: Any, shards: Path, tmp_path: Path) -> None:
    """A run of before there were labels of several kinds has none of the later keys in its checkpoint."""
    assert pretrain(tmp_path) == 0
    path = tmp_path / "model_0000011.pth"
    told = torch.load(path, weights_only=True)["fingerprint"]
    assert not {"DATA.LABELS", "DATA.SAMPLE_BY", "SOLVER.COOL_SHARE", "SOLVER.COOL_FROM"} & set(told)
    assert pretrain(tmp_path, "--resume") == 0


@pytest.fixture(scope="module")
def constant(pretrain: Any, both: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("constant") / "run"
    assert pretrain(run, **{**CONSTANT, "DATA.SHARDS": both}) == 0
    return run


CONSTANT = {
    "SOLVER.SCHEDULE": "constant",
    "SOLVER.KEEP_AT": "[0.4, 0.5]",
    "SOLVER.CHECKPOINTS_KEPT": 1,
    "SOLVER.TOTAL_IMAGES": 160,
    "SOLVER.WARMUP_UPDATES": 2,
}


def test_checkpoints_are_kept_at_their_shares(constant: Path) -> None:
    # 160 images in batches of 8: 0.4 is 8 updates, 0.5 is 10; 20 end the run.
    kept = sorted(path.name for path in constant.glob("model_0*.pth"))
    assert kept == ["model_0000007.pth", "model_0000009.pth", "model_0000019.pth"]
    _, rows = read(constant)
    assert len({row["lr"] for row in rows[2:-1]}) == 1


def test_a_branch_is_the_run_gone_on_with_and_cooled(
    pretrain: Any, both: Path, constant: Path, tmp_path: Path
) -> None:
    keys = {**CONSTANT, "DATA.SHARDS": both, "SOLVER.COOL_SHARE": 0.5}
    branch = {**keys, "SOLVER.COOL_FROM": constant / "model_0000009.pth"}
    assert pretrain(tmp_path / "branch", **branch) == 0
    results, rows = read(tmp_path / "branch")
    steps = [row for row in rows if "lr" in row]
    parent = [row for row in read(constant)[1] if "lr" in row]
    assert [row["iteration"] for row in steps] == [10, 11, 12, 13, 14]
    # The same photos follow, from the same weights; the rate falls to 0 in a line.
    assert [row["stream"] for row in steps] == [row["stream"] for row in parent[10:15]]
    assert steps[0]["loss"] == parent[10]["loss"]
    assert np.allclose([row["lr"] / parent[5]["lr"] for row in steps], [1.0, 0.8, 0.6, 0.4, 0.2])
    record = results["pretraining"]
    assert (record["cooled"], record["cooled_from"], record["draws"]) == (True, 80, 120)
    artifact, certified = backbone_export.export(sources.read(tmp_path / "branch"), tmp_path / "b.pth")
    assert artifact.meta["pretraining"]["cooled_from"] == certified["pretraining"]["cooled_from"] == 80


def test_a_killed_branch_goes_on(pretrain: Any, both: Path, constant: Path, tmp_path: Path) -> None:
    branch = {**CONSTANT, "DATA.SHARDS": both, "SOLVER.COOL_SHARE": 0.5, "SOLVER.CHECKPOINT_PERIOD": 3}
    branch |= {"SOLVER.CHECKPOINTS_KEPT": 3, "SOLVER.COOL_FROM": constant / "model_0000009.pth"}
    assert pretrain(tmp_path / "whole", **branch) == 0
    assert pretrain(tmp_path / "cut", **branch) == 0
    for name in ("model_0000014.pth", "model_final.pth"):
        (tmp_path / "cut" / name).unlink()
    assert (tmp_path / "cut/model_0000011.pth").exists()
    assert pretrain(tmp_path / "cut", "--resume", **branch) == 0
    one, two = (torch.load(tmp_path / run / "model_final.pth", weights_only=True) for run in ("whole", "cut"))
    assert all(torch.equal(one["model"][k], two["model"][k]) for k in one["model"])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"SOLVER.SCHEDULE": "steps"}, "is a branch of a run at a constant rate"),
        ({"SOLVER.COOL_FROM": "RUN/model_final.pth"}, "expected a checkpoint RUN/model_XXXXXXX.pth"),
        ({"SOLVER.COOL_FROM": "RUN/model_0000002.pth"}, "model_0000002.pth does not exist"),
        ({"SOLVER.COOL_FROM": "RUN/model_0000000.pth"}, "inside the warm-up"),
        ({"SOLVER.COOL_FROM": "RUN/model_0000008.pth"}, "its name says another"),
        ({"SEED": 1}, "holds a run with other settings"),
        ({"DATA.LABELS": "synsets"}, "DATA.LABELS: None then, 'synsets' now"),
    ],
)
def test_what_is_no_branch_ends_in_one_message(
    pretrain: Any, both: Path, constant: Path, tmp_path: Path, capsys: Any, keys: dict, message: str
) -> None:
    (constant / "model_0000008.pth").write_bytes((constant / "model_0000009.pth").read_bytes())
    from_ = {k: str(v).replace("RUN", str(constant)) for k, v in keys.items()}
    whole = {**CONSTANT, "DATA.SHARDS": both, "SOLVER.COOL_FROM": constant / "model_0000009.pth", **from_}
    assert pretrain(tmp_path / "branch", **whole) == 2
    (constant / "model_0000008.pth").unlink()
    assert message in capsys.readouterr().err
    assert not (tmp_path / "branch/model_final.pth").exists()


@pytest.mark.parametrize("key", ["DATA.LABELS", "DATA.SAMPLE_BY"])
def test_labels_that_the_shards_do_not_hold(
    pretrain: Any, shards: Path, tmp_path: Path, capsys: Any, key: str
) -> None:
    assert pretrain(tmp_path, **{key: "synsets"}) == 2
    assert (
        f"{key} is synsets, and {shards} holds hashtags alone: build_shards --truth"
        in capsys.readouterr().err
    )
