"""Studies from shards: backbones, cooled branches, seeds told apart, verdicts; trainings only pretend."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from browser import open_in_browser
from study_processes import Pretended, leave_figures_out, pretended_gain

from benchmarks import simulation
from benchmarks.simulation import Detector
from pretrain.training import defaults as pretraining
from wsl_det import cli, errors
from wsl_det.core import figures, files
from wsl_det.detector import datasets, defaults
from wsl_det.errors import ConfigError
from wsl_det.study import contrasts, estimate, jobs, levels, plan, process, report, run
from wsl_det.study import figures as study_figures
from wsl_det.study.scaling import figures as scaling_figures

GAIN = report._gain


@pytest.fixture
def pretended(monkeypatch) -> Pretended:
    stand_in = Pretended()
    monkeypatch.setattr(process, "train", stand_in.train)
    monkeypatch.setattr(report, "_gain", pretended_gain)
    leave_figures_out(monkeypatch)
    return stand_in


@pytest.fixture
def tree(study_tree: dict[str, Any], world, pretended: Pretended) -> dict[str, Any]:
    """The control arm on a simulated test set: labels three ways and none, three seeds of pretraining."""
    truth, _ = simulation.to_coco(pretended.scene, simulation.detect(pretended.scene, Detector()))
    for path in (world.train, world.test):
        path.write_text(json.dumps(truth))
    shards = world.folder / "shards"
    shards.mkdir()
    (shards / "dataset.json").write_text("{}")
    arm = {"config": str(world.config), "trunk": "T"}
    study_tree |= {
        "learning_rates": [0.02, 0.04],
        "seeds": [7],
        "pretrain": {
            "config": "configs/quick/pretrain_tiny.yaml",
            "shards": str(shards),
            "seeds": [1, 2, 3],
            "overrides": {"SOLVER.TOTAL_IMAGES": 1000, "SOLVER.IMS_PER_BATCH": 8, "MODEL.BN_GROUP": 8},
        },
        "arms": {"none": {**arm, "weights": "scratch"}}
        | {name: {**arm, "pretrain": {"labels": name}} for name in ("shuffled", "hashtags", "synsets")},
        "contrasts": ["hashtags - shuffled", "synsets - hashtags", "shuffled - none"],
        "report": {"bootstrap": 60, "attribution_bootstrap": 0, "gallery": False},
    }
    return study_tree


def _write(tree: dict[str, Any]) -> Path:
    path = Path(tree["output"]).parent / "study.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def _run(tree: dict[str, Any], job: int | None = None) -> list[str]:
    return run.run(_write(tree), defaults.TREE, datasets.locate, pretraining=pretraining.TREE, job=job)


def _begin(tree: dict[str, Any], *, strict: bool = True) -> run.Progress:
    return run.begin(
        _write(tree), defaults.TREE, datasets.locate, pretraining=pretraining.TREE, strict=strict
    )


def _read(tree: dict[str, Any]) -> plan.Study:
    return plan.read(_write(tree), datasets.locate)


def _along(tree: dict[str, Any], **more: Any) -> None:
    tree["pretrain"] |= {"at": [0.1, 1], "seeds": [1, 2], **more}
    for name in ("shuffled", "synsets"):
        del tree["arms"][name]
    tree["contrasts"] = ["hashtags - none"]


@pytest.mark.timeout(300)
def test_planted_errors_of_class_come_out_as_recognition(
    tree, pretended, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(report, "_gain", GAIN)  # the real one, but for a process of its own
    monkeypatch.setattr(process, "call", lambda words: (errors.run(cli.main, list(words[3:])), []))
    for module in (study_figures, scaling_figures):
        monkeypatch.setattr(module, "drawing", figures.drawing)
    lines = _run(tree)
    told = files.read_json(tree_output(tree) / "study.json")
    rows = {(row["candidate"], row["baseline"]): row for row in told["pairs"]}
    for pair in (("hashtags", "shuffled"), ("synsets", "hashtags")):
        row = rows[pair]
        assert row["gain"] > 3 and row["family_p"] < 0.05
        assert row["recognition"]["gain"] > 4 * abs(row["localization"]["gain"])
        low, high = row["localization"]["interval"]
        assert low < 0 < high or abs(row["localization"]["gain"]) < 0.5
        assert f"{pair[0]} − {pair[1]}: box AP is higher" in row["verdict"]
        assert "by recognition" in row["verdict"] and row["verdict"] in lines
    same = rows["shuffled", "none"]
    assert same["family_p"] > 0.05 and "no difference in box AP is shown" in same["verdict"]
    assert f"a true difference of {same['smallest_gain']:.1f} four times in five" in same["verdict"]
    arms = {arm["name"]: arm["levels"]["bbox"] for arm in told["arms"]}
    assert arms["synsets"]["recognition"]["value"] > arms["hashtags"]["recognition"]["value"] + 5
    assert arms["synsets"]["localization"]["value"] == pytest.approx(
        arms["none"]["localization"]["value"], abs=2
    )
    page = (tree_output(tree) / "study.html").read_text()
    assert all(row["verdict"] in page for row in told["pairs"])
    assert "before any final run was finished" in page
    for width in (1280, 390):
        opened = open_in_browser(tree_output(tree) / "study.html", tmp_path, width)
        assert not opened.console and not opened.asked


def tree_output(tree: dict[str, Any]) -> Path:
    return Path(tree["output"])


def test_a_study_from_shards_goes_on_after_any_interruption(tree, pretended) -> None:
    tree["arms"] = {name: tree["arms"][name] for name in ("none", "hashtags")}
    tree["contrasts"] = ["hashtags - none"]
    tree["pretrain"]["seeds"] = [1]
    strikes = 0
    while True:
        pretended.strike_at = len(pretended.calls) + 1  # one process, then it is killed
        try:
            _run(tree)
            break
        except KeyboardInterrupt:
            strikes += 1
    assert strikes == len(pretended.calls) - 1 == 7
    assert len(set(pretended.calls)) == len(pretended.calls), "nothing is done twice"
    stages = [call.split()[0] + " " + call.split()[1] for call in pretended.calls]
    trained = ["train_net sweep"] * 4 + ["train_net final"] * 2
    assert stages == ["pretrain_net pretrain", "export_backbone the", *trained]
    assert (tree_output(tree) / "study.html").is_file()


def test_runs_of_one_backbone_are_averaged_and_pretrainings_count(tree, pretended) -> None:
    tree["seeds"] = [7, 8]
    tree["pretrain"]["seeds"] = [1, 2]
    tree["arms"] = {name: tree["arms"][name] for name in ("shuffled", "hashtags")}
    tree["contrasts"] = ["hashtags - shuffled"]
    _run(tree)
    told = files.read_json(tree_output(tree) / "study.json")
    arm = told["arms"][1]
    assert [(r["pretraining_seed"], r["seed"]) for r in arm["runs"]] == [(1, 7), (1, 8), (2, 7), (2, 8)]
    assert arm["units"] == [[0, 1], [2, 3]]
    level = arm["levels"]["bbox"]["AP"]
    assert len(level["runs"]) == 2 and level["within"] > 0 and level["between"] is not None


def test_one_pretraining_seed_gives_no_verdict(tree, pretended) -> None:
    tree["pretrain"]["seeds"] = [1]
    tree["seeds"] = [7, 8]
    tree["arms"] = {name: tree["arms"][name] for name in ("shuffled", "hashtags")}
    tree["contrasts"] = ["hashtags - shuffled"]
    _run(tree)
    (row,) = files.read_json(tree_output(tree) / "study.json")["pairs"]
    assert row["family_p"] is None
    assert "no verdict, for the seed was not varied" in row["verdict"]


def test_arms_along_the_way_are_cooled_branches(tree, pretended) -> None:
    _along(tree)
    study = _read(tree)
    assert [arm.name for arm in study.arms] == ["none", "hashtags@0.1", "hashtags"]
    listed = [job.title for job in jobs.every(study, {})]
    assert listed[:6] == [
        "pretrain hashtags, seed 1", "pretrain hashtags, seed 2", "cool hashtags@0.1, seed 1",
        "cool hashtags@0.1, seed 2", "cool hashtags, seed 1", "cool hashtags, seed 2",
    ]  # fmt: skip
    assert [arm.seeds for arm in study.arms] == [(1, 2), (7,), (7,)], (
        "random numbers have pretraining's seeds"
    )
    _run(tree)
    out = tree_output(tree)
    kept = yaml.safe_load((out / "pretrain" / "hashtags" / "seed_1" / "config.yaml").read_text())
    assert (kept["SOLVER.SCHEDULE"], kept["SOLVER.KEEP_AT"]) == ("constant", "[0.1]")
    branch = yaml.safe_load((out / "cool" / "hashtags" / "seed_2" / "config.yaml").read_text())
    assert branch["SOLVER.COOL_FROM"] == str(out / "pretrain" / "hashtags" / "seed_2" / "model_0000124.pth")
    assert not (out / "pretrain" / "hashtags" / "seed_1" / "backbone.pth").exists(), "not cooled: no arm"
    told = files.read_json(out / "study.json")
    assert [(arm["images"], arm["cooled"]) for arm in told["arms"]] == [
        (None, True),
        (104, True),
        (1000, True),
    ]
    assert "Along pretraining" in (out / "study.html").read_text()


def test_the_rate_of_the_end_may_stand_for_arms_along_the_way(tree, pretended) -> None:
    _along(tree, tune="end")
    _run(tree)
    assert not any("sweep hashtags@0.1" in call for call in pretended.calls)
    told = {arm["name"]: arm for arm in files.read_json(tree_output(tree) / "study.json")["arms"]}
    assert told["hashtags@0.1"]["learning_rate"] == told["hashtags"]["learning_rate"] == 0.02
    tree["pretrain"]["at"] = [0.1, 0.3]
    with pytest.raises(ConfigError, match="1 among them where tune is end"):
        _read(tree)


def test_cooled_and_uncooled_checkpoints_are_never_joined() -> None:
    level = {"value": 20.0, "interval": [18.0, 22.0]}
    row = {"levels": {"bbox": {"recognition": level, "localization": level, "AP": level}}, "units": [[0]],
           "runs": [{"bbox.AP": 20.0}]}  # fmt: skip
    rows = [
        {
            **row,
            "name": f"{root}@{images}",
            "pretraining": f"{root}@{images}",
            "root": root,
            "images": images,
            "cooled": root != "hot",
        }
        for root in ("tags", "hot")
        for images in (1e3, 1e4, 1e5)
    ]
    flat = [{**one, "levels": one["levels"]["bbox"], "hue": "#1b4f9c"} for one in rows]
    for axes in study_figures._along(flat, False).axes:
        lines = {line.get_label(): line for line in axes.get_lines()}
        assert len(lines["tags"].get_xdata()) == 3
        assert all(len(line.get_xdata()) == 1 for name, line in lines.items() if "not cooled" in name)
        assert [len(line.get_xdata()) for line in axes.get_lines() if "hot" in line.get_label()].count(3) == 0
    assert set(study_figures.draw(rows, "bbox")) == {"factors", "seeds", "along"}


def test_norm_and_freezing_are_the_same_in_all_arms(tree, pretended) -> None:
    tree["arms"]["none"]["overrides"] = {"MODEL.RESNETS.NORM": "GN"}
    with pytest.raises(ConfigError, match=r"(?s)the same in all arms.*none: GN, 0\n  shuffled: BN, 0"):
        _run(tree)
    tree["arms"]["none"]["overrides"] = {}
    tree["overrides"] = {"MODEL.BACKBONE.FREEZE_AT": 2}
    with pytest.raises(ConfigError, match="FREEZE_AT 0"):
        _run(tree)
    assert not pretended.calls
    tree["allow_mismatch"] = True
    _begin(tree)


def test_contrasted_pretrainings_may_be_looked_at_along_the_way_one_of_them(tree, pretended) -> None:
    tree["pretrain"]["at"] = [1]
    tree["arms"]["hashtags"]["pretrain"]["at"] = [0.1, 1]
    _begin(tree)  # which checkpoints are kept changes no weights


def test_contrasted_pretrainings_differ_in_their_labels_alone(tree, pretended) -> None:
    tree["arms"]["hashtags"]["pretrain"]["overrides"] = {"DATA.RESAMPLE": "natural"}
    with pytest.raises(
        ConfigError, match=r"(?s)shuffled and hashtags are contrasted.*RESAMPLE: sqrt \| natural"
    ):
        _run(tree)
    tree["contrasts"] = []
    _begin(tree)
    tree["contrasts"] = ["hashtags - shuffled"]
    tree["arms"]["hashtags"]["pretrain"] = {"seeds": [1, 2]}
    with pytest.raises(ConfigError, match=r"seeds: \(1, 2, 3\) \| \(1, 2\)"):
        _begin(tree)


def _set(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(tree: dict[str, Any]) -> None:
        for key in path[:-1]:
            tree = tree[key]
        tree[path[-1]] = to

    return change


MALFORMED = {
    "a typo": (_set("pretrain", "sedes", to=[1]), "pretrain: unknown key 'sedes'; did you mean 'seeds'"),
    "labels nobody has": (
        _set("arms", "synsets", "pretrain", "labels", to="tags"),
        "one of hashtags, synsets, shuffled",
    ),
    "no shards": (_set("pretrain", "shards", to=None), "pretrain: shards is missing"),
    "shards that are not there": (_set("pretrain", "shards", to="no"), "arm shuffled: its shards no"),
    "no config": (_set("pretrain", "config", to="no.yaml"), "config file no.yaml does not exist"),
    "a key nobody has": (
        _set("pretrain", "overrides", to={"SOLVER.TOTAL_IMAGE": 8}),
        "did you mean SOLVER.TOTAL_IMAGES",
    ),
    "an owned key": (_set("pretrain", "overrides", to={"DATA.LABELS": "x"}), "left to the study (labels)"),
    "a list for keys": (_set("pretrain", "overrides", to=[1]), "KEY: VALUE lines"),
    "pretrain as a text": (_set("pretrain", to="x"), "KEY: VALUE lines"),
    "an arm's pretrain as a text": (
        _set("arms", "synsets", "pretrain", to="x"),
        "arms: synsets: pretrain is",
    ),
    "a share above 1": (_set("pretrain", "at", to=[1.5]), "a list of shares above 0"),
    "a share twice": (_set("pretrain", "at", to=[0.5, 0.5]), "at is [0.5, 0.5]; expected every value once"),
    "seeds twice": (_set("pretrain", "seeds", to=[1, 1]), "every value once"),
    "weights and shards": (_set("arms", "synsets", "weights", to="a.pth"), "either weights or pretrain"),
    "an arm's seeds twice": (_set("arms", "none", "seeds", to=[1, 1]), "arms: none: seeds"),
    "a contrast's typo": (
        _set("contrasts", to=["hashtgas - none"]),
        "names no arm 'hashtgas'; did you mean 'hashtags'",
    ),
    "a contrast of one": (_set("contrasts", to=["hashtags"]), "candidate - baseline"),
    "a contrast with itself": (_set("contrasts", to=["none - none"]), "candidate - baseline"),
    "a contrast both ways": (_set("contrasts", to=["none - synsets", "synsets - none"]), "each once"),
    "contrasts as a number": (_set("contrasts", to=3), "contrasts is 3"),
    "options of sbatch as a text": (_set("slurm", to="--x"), "a list of options of sbatch"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_files_end_in_one_message(case: str, tree, pretended, capsys) -> None:
    change, told = MALFORMED[case]
    change(tree)
    assert errors.run(cli.main, ["run_study", str(_write(tree))]) == 2
    said = capsys.readouterr().err
    assert told in said and "Traceback" not in said
    assert not pretended.calls


def test_contrasts_named_later_are_told(tree, pretended) -> None:
    tree["arms"] = {name: tree["arms"][name] for name in ("shuffled", "hashtags")}
    tree["contrasts"] = []
    _run(tree)
    assert contrasts.history(_read(tree)) == []
    tree["contrasts"] = ["hashtags - shuffled"]
    _run(tree)
    _run(tree)
    (named,) = contrasts.history(_read(tree))
    assert named["finished"] == 6
    assert "after 6 final runs were finished" in (tree_output(tree) / "study.html").read_text()


def test_a_plan_lists_every_job_with_its_hours(tree, pretended) -> None:
    lines = estimate.dry_run(_begin(tree, strict=False))
    assert len(lines) == 1 + 9 + 8 + 12 + 1 and "the hours of 29 of 29 jobs are unknown" in lines[-1]
    lines = estimate.dry_run(_begin(tree, strict=False), measure=True)
    assert len(pretended.calls) == 2, "one measurement of pretraining, one of fine-tuning"
    assert not (tree_output(tree) / "measure").exists()
    assert lines[1].split()[:4] == ["0", "to", "do", f"{125 * 0.25 / 3600:.2f}"]
    assert "unknown" not in "".join(lines)
    assert estimate.dry_run(_begin(tree, strict=False)) == lines, "it is kept"


def test_jobs_say_what_they_wait_for(tree, pretended) -> None:
    _along(tree)
    for job, told in ((2, "the backbone that jobs 0 make"), (8, "the backbone that jobs 2 make")):
        with pytest.raises(ConfigError, match=told):
            _run(tree, job)
    _run(tree, 0)
    _run(tree, 2)
    assert "finished" in _run(tree, 8)[0]


def test_slurm_gets_an_array_for_each_stage(tree, pretended, tmp_path: Path, monkeypatch) -> None:
    _along(tree)
    tree["slurm"] = ["--partition=gpu", "--time=02:00:00"]
    bin_, said = tmp_path / "bin", tmp_path / "said"
    bin_.mkdir()
    stand_in = bin_ / "sbatch"
    stand_in.write_text(
        f'#!/usr/bin/env bash\necho "$@" >> {said}\necho $((100 + $(wc -l < {said})))\nexit ${{CODE:-0}}\n'
    )
    stand_in.chmod(0o755)
    path = str(_write(tree))
    assert errors.run(cli.main, ["run_study", path, "--submit", "slurm"]) == 2, "no sbatch here"
    monkeypatch.setenv("PATH", f"{bin_}{os.pathsep}{os.environ['PATH']}")
    _run(tree, 0)
    assert cli.main(["run_study", path, "--submit", "slurm"]) == 0
    calls = [line.replace(str(tree_output(tree)), "OUT") for line in said.read_text().splitlines()]
    wait = "--kill-on-invalid-dep=yes"
    assert calls == [
        "--parsable --array=1 OUT/slurm/pretrain.sbatch",
        f"--parsable --dependency=afterok:101 {wait} --array=2,3,4,5 OUT/slurm/cool.sbatch",
        f"--parsable --dependency=afterok:102 {wait} --array=6,7,8,9,10,11 OUT/slurm/sweep.sbatch",
        f"--parsable --dependency=afterok:103 {wait} --array=12,13,14,15,16,17 OUT/slurm/final.sbatch",
        f"--parsable --dependency=afterok:104 {wait} OUT/slurm/report.sbatch",
    ]
    script = tree_output(tree) / "slurm" / "cool.sbatch"
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text()
    assert "#SBATCH --partition=gpu\n#SBATCH --time=02:00:00\n" in text
    assert f'run_study {path} --job "$SLURM_ARRAY_TASK_ID" &' in text
    monkeypatch.setenv("CODE", "1")
    assert errors.run(cli.main, ["run_study", path, "--submit", "slurm"]) != 0


def test_study_json_holds_every_number_of_the_page(tree, pretended) -> None:
    tree["arms"] = {name: tree["arms"][name] for name in ("none", "hashtags")}
    tree["contrasts"] = ["hashtags - none"]
    _run(tree)
    record = files.read_json(tree_output(tree) / "study.json")
    table = files.read_json(tree_output(tree) / "table" / "capacities.json")
    page, drawn = report.render(record, table)
    assert page == (tree_output(tree) / "study.html").read_text(), "the page is made of the file alone"
    assert set(drawn) == {"bars_bbox", "factors_bbox", "seeds_bbox"}
    assert set(record["arms"][0]["levels"]["bbox"]) == set(levels.LEVELS)
