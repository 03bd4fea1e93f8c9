"""A study with the real trainer and report, and cross-scoring of what it trained, by command line."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from wsl_det import errors
from wsl_det.cli import main


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_study_file_to_reports_and_cross_scores(study_tree: dict[str, Any], world, capsys) -> None:
    study_tree |= {
        "engine": "embedded",
        "seeds": [1],
        "learning_rates": [0.01, 1.0e9],
        "overrides": {"SOLVER.MAX_ITER": 4},
        "report": {"bootstrap": 20, "attribution_bootstrap": 10},
    }
    study_tree["arms"]["tags"]["learning_rates"] = [0.02, 2.0e9]
    path = world.folder / "study.yaml"
    path.write_text(yaml.safe_dump(study_tree))
    assert errors.run(main, ["run_study", str(path)]) == 0
    out = world.folder / "out"
    told = json.loads((out / "study.json").read_text())
    assert [arm["sweep"]["scores"][1] for arm in told["arms"]] == [None, None], "a rate of 1e9 diverges"
    assert (out / "reports" / "tags_against_random" / "gain.html").is_file()
    assert (out / "table" / "capacities.html").is_file()
    runs = {name: out / "final" / name / "seed_1" for name in ("random", "tags")}
    words = ["cross_score", "--dataset", "t", "--register", "t", str(world.test), str(world.images)]
    for side, run in (("--baseline", runs["random"]), ("--candidate", runs["tags"])):
        words += [side, str(run / "config.yaml"), str(run / "model_final.pth")]
    assert errors.run(main, [*words, "--output", str(out / "cross"), "--bootstrap", "20"]) == 0
    assert "recognition" in capsys.readouterr().out
    for name, run in zip(("baseline", "candidate"), runs.values(), strict=True):
        crossed = out / "cross" / f"predictions.boxes_{name}.scores_{name}.json"
        assert crossed.read_bytes() == (run / "predictions.json").read_bytes()


SYNSETS = {"dog": "n02084071", "cat": "n02121620"}


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_from_shards_to_the_page_with_one_command_after_kills(study_tree: dict[str, Any], world) -> None:
    """All that a study starts is real: vocabulary, shards, pretraining, export, fine-tuning, reports."""
    names = sorted(path.stem for path in world.images.glob("*.png"))
    tags = dict(zip(names, ["dog", "cat"] * len(names), strict=False))
    folder, out = world.folder, world.folder / "out"
    posts = [{"id": name, "image": f"{name}.png", "hashtags": [tags[name]]} for name in names]
    truth = [{"id": name, "synsets": [SYNSETS[tags[name]]]} for name in names]
    for name, rows in (("posts", posts), ("truth", truth)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["--posts", str(folder / "posts.jsonl")]
    vocab = ["--output", str(folder / "vocab.json"), "--kind", "wordnet", "--min-count", "1"]
    assert errors.run(main, ["build_vocab", *given, *vocab]) == 0
    shards = ["--truth", str(folder / "truth.jsonl"), "--images", str(world.images), "--vocab", vocab[1]]
    assert errors.run(main, ["build_shards", *given, *shards, "--output", str(folder / "shards")]) == 0
    trunk = {"DEPTH": 50, "NUM_GROUPS": 8, "WIDTH_PER_GROUP": 4, "RES2_OUT_CHANNELS": 64}
    config = yaml.safe_load(world.config.read_text())
    config["MODEL"]["RESNETS"] |= trunk
    world.config.write_text(yaml.safe_dump(config))
    small = {
        "SOLVER.TOTAL_IMAGES": 16,
        "SOLVER.IMS_PER_BATCH": 8,
        "MODEL.BN_GROUP": 8,
        "SOLVER.WARMUP_UPDATES": 1,
    }
    arm = {"config": str(world.config), "trunk": "T"}
    study_tree |= {
        "engine": "embedded",
        "seeds": [1],
        "learning_rates": [0.01, 0.02],
        "report": {"bootstrap": 20, "attribution_bootstrap": 10},
        "pretrain": {"config": "configs/quick/pretrain_demo.yaml", "shards": str(folder / "shards"),
                     "seeds": [1, 2], "at": [0.5, 1], "tune": "end", "overrides": small},
        "arms": {"none": {**arm, "weights": "scratch"}, "hashtags": {**arm, "pretrain": {}}},
        "contrasts": ["hashtags - none"],
    }  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study_tree, sort_keys=False))
    words = [sys.executable, "-m", "wsl_det", "run_study", str(path)]
    for seen in ("pretrain/hashtags/seed_2/job.json", "cool/hashtags/seed_1/job.json", "final/none"):
        with subprocess.Popen(words) as running:
            while not (out / seen).exists() and running.poll() is None:
                time.sleep(0.1)
            running.kill()
    assert subprocess.run(words, check=False).returncode == 0
    told = json.loads((out / "study.json").read_text())
    assert [(arm["name"], arm["images"], len(arm["units"])) for arm in told["arms"]] == [
        ("none", None, 2), ("hashtags@0.5", 16, 2), ("hashtags", 24, 2),
    ]  # fmt: skip
    page = (out / "study.html").read_text()
    assert told["pairs"][0]["verdict"] in page and "Along pretraining" in page


def test_errors_of_the_tools_are_one_message_and_exit_code_2(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert errors.run(main, ["run_study", str(tmp_path / "no.yaml")]) == 2
    assert "srun started 4 processes" in capsys.readouterr().err
    assert errors.run(main, ["run_study", str(tmp_path / "no.yaml"), "--dry-run"]) == 2
    assert "does not exist" in capsys.readouterr().err
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS")
    assert errors.run(main, ["run_study", str(tmp_path / "no.yaml")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert (
        errors.run(main, ["compare_capacities", str(tmp_path / "no.yaml"), "--output", str(tmp_path / "o")])
        == 2
    )
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
