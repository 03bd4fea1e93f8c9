"""A study with the real trainer and report, and cross-scoring of what it trained, by command line."""

from __future__ import annotations

import json
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
