"""The report from files: what it refuses, what it writes, and that a browser shows it."""

from __future__ import annotations

import copy
import json
import math
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import open_in_browser
from PIL import Image

from benchmarks import simulation
from benchmarks.simulation import Detector
from tools import report_gain
from wsl_det import errors, gain, predictions
from wsl_det.core import files, words
from wsl_det.errors import ConfigError, DataError
from wsl_det.gain import answer, estimates, power, report, verdict
from wsl_det.gain.comparison import SHOWN_KINDS, Options

OPTIONS = Options(bootstrap=60, attribution_bootstrap=10)
CONFIG: dict[str, Any] = {
    "SEED": 1,
    "MODEL": {"WEIGHTS": "a.pth", "MASK_ON": True, "RESNETS": {"NORM": "BN"}},
    "SOLVER": {"BASE_LR": 0.02, "MAX_ITER": 90},
    "WSL_DET": {"LOG_PERIOD": 20, "LR_SWEEP_SIZE": 0, "AMP_DTYPE": "float16"},
}
HOSTILE = "<script>alert('x')</script> & \"q\""


def meta(gt: Path, **change: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    for dotted, value in change.get("config", {}).items():
        *path, leaf = dotted.split(".")
        at = config
        for key in path:
            at = at.setdefault(key, {})
        at[leaf] = value
    header = {"dataset": {"name": "val", "gt_sha256": files.sha256(gt), "images": 40}, "config": config}
    return {
        **header,
        "engine": {"name": "embedded", "version": "1"},
        "sweep": change.get("sweep"),
        "command": HOSTILE,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gt.json, images/, a.json and b.json without headers; two more runs of each as a1, a2, b1, b2."""
    path = tmp_path_factory.mktemp("gain")
    scene = simulation.world(images=40, classes=6, seed=2)
    sides = {"a": Detector(box_noise=0.1, missed=0.35), "b": Detector(class_error=0.05, missed=0.15)}
    for name, detector in sides.items():
        for run in range(3):
            truth, results = simulation.to_coco(scene, simulation.detect(scene, detector, luck=run or None))
            (path / f"{name}{run or ''}.json").write_text(json.dumps(results))
    truth["categories"][0]["name"] = HOSTILE
    (path / "gt.json").write_text(json.dumps(truth))
    (path / "images").mkdir()
    for image in truth["images"]:
        Image.new("RGB", (640, 480), (90, 120, 140)).save(path / "images" / image["file_name"])
    return path


@pytest.fixture(scope="module")
def made(folder: Path) -> Path:
    """A written report with a gallery."""
    one = report.make(folder / "gt.json", [folder / "a.json"], [folder / "b.json"], OPTIONS)
    return report.write(one, folder / "report", folder / "images").parent


def test_gain_json_has_the_documented_form(made: Path) -> None:
    content = json.loads((made / "gain.json").read_text())
    assert set(content) == {"bbox", "meta"}
    one = content["bbox"]
    assert list(one["metrics"]) == [
        "AP",
        "AP50",
        "AP75",
        "APs",
        "APm",
        "APl",
        "AR1",
        "AR10",
        "AR100",
        "ARs",
        "ARm",
        "ARl",
    ]
    assert {"baseline", "candidate", "gain", "interval", "p"} <= set(one["metrics"]["AP"])
    assert [row["iou"] for row in one["curve"]] == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    assert set(one["curve"][0]) == {"iou", "baseline", "candidate", "gain", "relative", "interval"}
    assert list(one["two_factor"]) == ["0.1", "0.3", "0.5"]
    assert set(one["two_factor"]["0.1"]["interval"]) == {"recognition", "localization"}
    assert list(one["attribution"]) == ["classification", "localization", "duplicate", "background", "missed"]
    assert set(one["attribution"]["missed"]) == {"gain", "interval", "burden"}
    assert len(one["by_class"]) == 6
    assert {p.name for p in made.iterdir()} >= {
        "gain.html",
        "curve_bbox.svg",
        "curve_bbox.png",
        "attribution_bbox.png",
    }


def test_the_page_is_one_file_and_escapes_what_comes_from_data(made: Path) -> None:
    page = (made / "gain.html").read_text()
    assert page.count("<script") == 1  # our own
    assert "&lt;script&gt;" in page
    # Links to elsewhere: only the names of XML namespaces may look like one.
    outside = set(re.findall(r"https?://[^\"'\s<>]+", page))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert page.count("data:image/jpeg;base64,") >= 2
    gain = json.loads((made / "gain.json").read_text())["bbox"]["metrics"]["AP"]["gain"]
    assert f"{words.signed(gain)}</b>" in page
    assert "training seed" in page


def test_what_holds_too_seldom_at_such_a_size_is_marked_and_not_bold(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = answer._known
    names = ["AP", "AP50", "recognition", "localization", *(f"{kind} (kind)" for kind in SHOWN_KINDS)]
    short = ({"missed (kind)": 88.4, "AP50": 89.9, "localization": 50.0}, {"background (kind)": 91.9})
    rows = [
        {"images": images, "sets": 1000, "covered": dict.fromkeys(names, 95.0) | some}
        for images, some in zip((28, 100), short, strict=True)
    ]
    monkeypatch.setattr(answer, "_known", lambda n: {"by_images": rows} if n == "calibration" else known(n))
    for images in (5, 28, 99):
        found = answer.calibration(images)
        assert (found["uncalibrated"], found["too_narrow"]) == (["missed"], ["AP50", "localization"])
    assert answer.calibration(100)["uncalibrated"] == ["background"]
    card = report.make(folder / "gt.json", [folder / "a.json"], [folder / "b.json"], OPTIONS)
    for row in card.content["bbox"]["metrics"].values():
        row["p"] = 0.01
    page = card.html()
    assert re.findall(r">([\w ]+) †<", page) == ["Localization", "missed", "AP50"]
    assert "88% (missed)" in page and "too few for AP50, localization (†)" in page
    assert re.findall(r'class="sure"><td>(\w+)', page) == [
        n for n in card.content["bbox"]["metrics"] if n != "AP50"
    ]


def test_few_images_bring_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = [folder / "a.json"], [folder / "b.json"]
    images = len(json.loads((folder / "gt.json").read_text())["images"])
    assert report.FEW_IMAGES == 50
    for few, warned in ((images, False), (images + 1, True)):
        monkeypatch.setattr(report, "FEW_IMAGES", few)
        notes = report.make(folder / "gt.json", *sides, Options(4, 0)).content["meta"]["notes"]
        assert any(f"only {images} test images" in note for note in notes) == warned


@pytest.mark.parametrize("width", [1100, 500])
def test_a_browser_opens_it_without_error_or_request(made: Path, tmp_path: Path, width: int) -> None:
    opened = open_in_browser(made / "gain.html", tmp_path, width)
    assert opened.console == [] and opened.asked == set()
    assert opened.picture.size == (width, 3000)


def header_pair(folder: Path, tmp_path: Path, a: dict[str, Any], b: dict[str, Any]) -> tuple[Path, Path]:
    paths = tmp_path / "a.json", tmp_path / "b.json"
    for path, change in zip(paths, (a, b), strict=True):
        rows = json.loads((folder / path.name).read_text())
        predictions.write(path, rows, meta(folder / "gt.json", **change))
    return paths


@pytest.mark.parametrize(
    ("a", "b", "refused"),
    [
        ({}, {"config": {"MODEL.WEIGHTS": "b.pth", "SEED": 2, "MODEL.RESNETS.NORM": "FrozenBN"}}, None),
        ({}, {"config": {"SOLVER.MAX_ITER": 180}}, r"SOLVER.MAX_ITER: 90 \| 180"),
        ({}, {"config": {"MODEL.MASK_ON": False}}, "MODEL.MASK_ON"),
        ({}, {"config": {"SOLVER.BASE_LR": 0.01}}, "SOLVER.BASE_LR"),
        ({"sweep": {"size": 3}}, {"config": {"SOLVER.BASE_LR": 0.01}, "sweep": {"size": 3}}, None),
        ({}, {"config": {"WSL_DET.LOG_PERIOD": 5, "WSL_DET.LR_SWEEP_SIZE": 3}}, None),
        ({}, {"config": {"WSL_DET.AMP_DTYPE": "bfloat16"}}, "WSL_DET.AMP_DTYPE"),
        # Older files lack the key; they were made as it does by default.
        ({}, {"config": {"WSL_DET.INFERENCE.PRECISION": "float32"}}, None),
        ({}, {"config": {"WSL_DET.INFERENCE.PRECISION": "bfloat16"}}, r"PRECISION: float32 \| bfloat16"),
        (
            {"sweep": {"size": 3}},
            {"config": {"SOLVER.BASE_LR": 0.01}, "sweep": {"size": 5}},
            "SOLVER.BASE_LR",
        ),
    ],
)
def test_like_for_like(
    folder: Path, tmp_path: Path, a: dict[str, Any], b: dict[str, Any], refused: str | None
) -> None:
    paths = header_pair(folder, tmp_path, a, b)
    arguments = (folder / "gt.json", [paths[0]], [paths[1]], Options(4, 2))
    if refused is None:
        one = report.make(*arguments)
        assert all(d["free"] for d in one.content["meta"]["differences"])
        return
    with pytest.raises(DataError, match=refused):
        report.make(*arguments)
    one = report.make(*arguments, allow_mismatch=True)
    assert any(
        not d["free"] and re.search(refused.split(":")[0], d["key"])
        for d in one.content["meta"]["differences"]
    )
    assert "The sides are not alike" in report.write(one, tmp_path / "out").read_text()


def test_another_ground_truth_is_refused(folder: Path, tmp_path: Path) -> None:
    paths = header_pair(folder, tmp_path, {}, {})
    tree = json.loads((folder / "gt.json").read_text())
    tree["info"] = {"year": 1}
    (tmp_path / "gt2.json").write_text(json.dumps(tree))
    with pytest.raises(DataError, match=r"ground truth of .*made for sha256"):
        report.make(tmp_path / "gt2.json", [paths[0]], [paths[1]], Options(4, 2))


def test_several_runs_widen_the_interval_by_their_spread(folder: Path) -> None:
    sides = [[folder / f"{name}{run}.json" for run in ("", "1", "2")] for name in ("a", "b")]
    card = report.make(folder / "gt.json", *sides, OPTIONS)
    one = card.content["bbox"]["metrics"]["AP"]

    def alone(path: Path) -> float:
        one = report.make(folder / "gt.json", [path], [path], Options(2, 2))
        return float(one.content["bbox"]["metrics"]["AP"]["baseline"])

    runs = [[alone(path) for path in paths] for paths in sides]
    assert one["gain"] == pytest.approx(np.mean(runs[1]) - np.mean(runs[0]), abs=1e-9)
    seed = sum(np.var(values, ddof=1) / 3 for values in runs)
    assert one["variance"]["seed_variance"] == pytest.approx(seed, abs=1e-9)
    variance = one["variance"]
    assert 0 < variance["in_both"] <= min(seed, variance["image_variance"])
    total = variance["image_variance"] + seed - variance["in_both"]
    assert variance["standard_error"] == pytest.approx(np.sqrt(total), abs=1e-9)
    said = verdict.doubt(variance)
    for part in ("standard_error", "image_variance", "seed_variance", "in_both"):
        shown = variance[part] if part == "standard_error" else math.sqrt(variance[part])
        assert f"{shown:.2f}" in said
    assert said in card.html()
    assert said in re.sub(r"\s+", " ", str(card))
    reach = estimates.t_quantile(0.975, one["variance"]["df"]) * np.sqrt(total)
    assert one["interval"] == pytest.approx([one["gain"] - reach, one["gain"] + reach], abs=1e-9)


def test_the_notebook_interface_prints_the_table_and_shows_the_page(folder: Path) -> None:
    card = gain.compare(
        folder / "gt.json", folder / "a.json", [folder / "b.json"], bootstrap=20, attribution_bootstrap=4
    )
    one = card.content["bbox"]
    text = str(card)
    for name, row in one["metrics"].items():
        assert re.search(rf"^  {name} .* {re.escape(words.signed(row['gain'], 2))} ", text, re.MULTILINE)
    assert "missed (by oracle)" in text
    assert verdict.headline(card.content, "bbox") in text
    assert repr(card) == text
    frame = card._repr_html_()
    for name in ("AP", "AP50", "AP75"):
        assert (
            f"<td>Boxes, {name}</td>" in frame
            and f"<td>{words.signed(one['metrics'][name]['gain'])}</td>" in frame
        )
    assert "<script" not in frame
    page = unescape(re.search(r'srcdoc="([^"]*)"', frame).group(1))  # type: ignore[union-attr]
    assert page == card.html()


def test_groups_are_the_classes_and_sizes_they_name(folder: Path, tmp_path: Path) -> None:
    trained = json.loads((folder / "gt.json").read_text())
    trained["images"] = [{**trained["images"][0], "id": i} for i in range(240)]
    shown = [(k, 40 * k + i) for k, n in enumerate((3, 10, 11, 40, 101, 120)) for i in range(n)]
    trained["annotations"] = [
        {**trained["annotations"][0], "id": i, "image_id": image % 240}
        | {"category_id": trained["categories"][k]["id"]}
        for i, (k, image) in enumerate(shown)
    ]
    (tmp_path / "train.json").write_text(json.dumps(trained))
    one = report.make(
        folder / "gt.json", [folder / "a.json"], [folder / "b.json"], Options(20, 0),
        train_gt=tmp_path / "train.json",
    ).content  # fmt: skip
    groups, classes = one["bbox"]["by_group"], one["bbox"]["by_class"]
    for row in groups["size"]:
        assert {key: row[key] for key in ("baseline", "gain", "interval")} == {
            key: one["bbox"]["metrics"][row["metric"]][key] for key in ("baseline", "gain", "interval")
        }
    assert sum(row["objects"] for row in groups["size"]) == one["meta"]["objects"]
    assert [row["name"] for row in groups["frequency"]] == ["rare", "common", "frequent"]
    for i, row in enumerate(groups["frequency"]):
        members = classes[2 * i : 2 * i + 2]
        assert row["objects"] == sum(member["objects"] for member in members)
        assert row["gain"] == pytest.approx(np.mean([member["gain"] for member in members]), abs=1e-9)
        assert row["interval"][0] <= row["gain"] <= row["interval"][1]
        assert sum(part["gain"] for part in row["factors"].values()) == pytest.approx(row["gain"], abs=1e-9)
    del trained["categories"][-1]
    trained["annotations"] = trained["annotations"][:1]
    (tmp_path / "train.json").write_text(json.dumps(trained))
    with pytest.raises(DataError, match="has no category 'class 6'"):
        report.make(
            folder / "gt.json", [folder / "a.json"], [folder / "b.json"], train_gt=tmp_path / "train.json"
        )


def test_power_scales_with_images_and_stops_at_the_seeds() -> None:
    one = estimates.Estimate(2.0, (1.0, 3.0), 0.5, 0.25, None, 0.0, math.inf, 0)
    made = power.power(one, 100, (1, 1))
    assert made is not None
    # 1.960 + 0.842 standard errors; four times the images halve what can be found.
    assert made["smallest_gain"] == pytest.approx(0.5 * 2.80158, abs=1e-4)
    assert [row["images"] for row in made["needed"]] == [785, 197, 50]
    assert {row["runs"] for row in made["needed"]} == {None}
    assert [row["observed"] for row in made["needed"]] == [False, False, True]
    seeds = estimates.Estimate(1.5, (0.0, 3.0), 0.5, 0.05, 0.2, 0.0, 4.0, 0)
    needed = power.power(seeds, 100, (3, 3))["needed"]  # type: ignore[index]
    assert needed[0]["images"] is None, "no number of images makes up for the seeds"
    assert needed[0]["runs"] is None, "nor any number of seeds for these images"
    few = needed[2]["runs"]
    assert 3 < few < 20
    total = 0.05 + 0.6 / few
    df = total**2 / ((0.6 / few) ** 2 / 2 / (few - 1))
    reach = estimates.t_quantile(0.975, df) + estimates.t_quantile(0.8, df)
    assert reach * np.sqrt(total) <= 1.5
    assert power.power(estimates.Estimate(0.0, (0, 0), 0.0, 0.0, None, 0.0, math.inf, 0), 9, (1, 1)) is None


def test_more_images_do_away_with_luck_and_more_runs_with_all_but_what_runs_share() -> None:
    # All that the runs differ in is luck with the images (0.2 of it): nothing stays as images are added.
    luck = estimates.Estimate(1.5, (0.0, 3.0), 0.5, 0.25, 0.2, 0.2, 4.0, 0)
    needed = power.power(luck, 100, (3, 3))["needed"]  # type: ignore[index]
    reach = estimates.t_quantile(0.975, 4.0) + estimates.t_quantile(0.8, 4.0)
    assert needed[0]["images"] == math.ceil(100 * 0.25 / (0.5 / reach) ** 2)
    few = needed[2]["runs"]
    assert few is not None
    total = 0.05 + 0.6 / few
    df = total**2 / ((0.6 / few) ** 2 / 2 / (few - 1))
    assert (estimates.t_quantile(0.975, df) + estimates.t_quantile(0.8, df)) * np.sqrt(total) <= 1.5


def test_luck_with_the_images_counts_once() -> None:
    """Runs that differ by seed (0.4), by luck with the images (1), on images of their own hardness (0.5)."""
    rng = np.random.default_rng(7)
    covered = {True: 0, False: 0}
    for _ in range(1500):
        hard, moves = 0.5 * rng.standard_normal(), rng.standard_normal((2, 3, 60))
        values = 0.4 * rng.standard_normal((2, 3)) + rng.standard_normal((2, 3))
        shared = 0.5 * rng.standard_normal(60)
        replicates = hard + values[1].mean() - values[0].mean() + shared
        replicates = replicates + moves[1].mean(axis=0) - moves[0].mean(axis=0)
        for once in covered:
            sides = [
                estimates.runs_of(v, v[:, None] + m) if once else estimates.Runs(v)
                for v, m in zip(values, moves, strict=True)
            ]
            point = float(hard + values[1].mean() - values[0].mean())
            low, high = estimates.estimate(point, replicates, *sides, 60).interval
            covered[once] += low <= 0 <= high
    assert 0.935 <= covered[True] / 1500 <= 0.975
    assert covered[False] / 1500 > 0.975, "counted twice, they cover too much"


@pytest.mark.parametrize("options", [Options(1, 4), Options(20, 1), Options(20, -3)])
def test_too_few_resamples_are_refused(folder: Path, options: Options) -> None:
    with pytest.raises(ConfigError, match="at least 2 resamples"):
        report.make(folder / "gt.json", [folder / "a.json"], [folder / "b.json"], options)


def test_one_run_named_twice_is_refused(folder: Path) -> None:
    twice = [folder / "b.json", folder / "images" / ".." / "b.json"]
    with pytest.raises(DataError, match=r"the candidate names .*b\.json more than once"):
        report.make(folder / "gt.json", [folder / "a.json"], twice, Options(4, 0))


def test_no_resamples_of_the_attribution_leave_it_out(folder: Path, tmp_path: Path) -> None:
    arguments = (folder / "gt.json", [folder / "a.json"], [folder / "b.json"])
    card, whole = (report.make(*arguments, Options(20, number)) for number in (0, 4))
    ours, theirs = card.content["bbox"], whole.content["bbox"]
    assert "attribution" not in ours
    assert ours == {
        **{key: value for key, value in theirs.items() if key != "attribution"},
        "resamples": {k: v for k, v in theirs["resamples"].items() if k != "attribution_undefined"},
    }
    page = report.write(card, tmp_path / "out").read_text()
    assert "split by kind of error was left out" in page
    assert "By kind of error" not in page
    assert not list((tmp_path / "out").glob("attribution*"))
    assert "by oracle" not in str(card)


def test_empty_predictions_give_nulls_with_reasons(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("[]")
    one = report.make(folder / "gt.json", [tmp_path / "none.json"], [folder / "b.json"], Options(10, 4))
    box = one.content["bbox"]
    assert box["metrics"]["AP"]["baseline"] == 0
    assert box["two_factor"]["0.1"]["recognition"] is None
    assert "AP" in box["two_factor"]["0.1"]["reason"]
    assert box["attribution"]["missed"]["gain"] is None
    assert box["curve"][0]["relative"] is None
    assert box["resamples"]["attribution_undefined"] == 4
    report.write(one, tmp_path / "out")


def test_the_tool_prints_its_numbers_and_refuses_without_a_trace(
    folder: Path, tmp_path: Path, capsys: Any
) -> None:
    words = ["--gt", folder / "gt.json", "--baseline", folder / "a.json", "--candidate", folder / "b.json"]
    words += ["--output", tmp_path / "out", "--bootstrap", "20", "--attribution-bootstrap", "4"]
    assert errors.run(report_gain.main, [str(word) for word in words]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"gain in AP .*\[.*\]\n.*recognition .*\n.*localization", shown)
    assert f"report: {tmp_path / 'out' / 'gain.html'}" in shown
    words[3] = folder / "gt.json"
    words[7] = tmp_path / "other"
    assert errors.run(report_gain.main, [str(word) for word in words]) == 2
    assert "its annotations belong to --gt" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def _tuned(folder: Path, path: Path, name: str, backbone: str, seed: int, **change: Any) -> Path:
    """The predictions ``name`` of ``folder`` again, as those of a detector from a backbone of a seed."""
    told = {"labels": "hashtags", "draws": 1000, "seed": seed, "images": 900 + seed}
    about = {"backbone": {"sha256": backbone, "pretraining": told | change}}
    config = {"MODEL.WEIGHTS": f"{backbone}.pth", "SEED": seed}
    rows = json.loads((folder / f"{name}.json").read_text())
    predictions.write(path, rows, meta(folder / "gt.json", config=config) | about)
    return path


def test_fine_tunings_of_a_backbone_are_averaged_before_backbones_are(folder: Path, tmp_path: Path) -> None:
    names = ("a", "a1", "b"), ("a2", "b1", "b2")
    sides = [
        [_tuned(folder, tmp_path / f"{side}{i}.json", name, f"{side}{min(i, 1)}", min(i, 1))
         for i, name in enumerate(names[side])]
        for side in range(2)
    ]  # fmt: skip
    made = report.make(folder / "gt.json", *sides, OPTIONS).content
    one = made["bbox"]["metrics"]["AP"]
    alone = [
        [report.make(folder / "gt.json", [p], [p], Options(2, 0)).content["bbox"]["metrics"]["AP"]["baseline"]
         for p in side]
        for side in sides
    ]  # fmt: skip
    units = [[run[0], (run[1] + run[2]) / 2] for run in alone]
    assert one["baseline"] == pytest.approx(np.mean(units[0]), abs=1e-9)
    seed = sum(np.var(unit, ddof=1) / 2 for unit in units)
    assert one["variance"]["seed_variance"] == pytest.approx(seed, abs=1e-9)
    for side, unit, run in zip(("baseline", "candidate"), units, alone, strict=True):
        told = one["variance"]["runs"][side]
        assert told["between"] == pytest.approx(np.var(unit, ddof=1), abs=1e-9)
        assert told["within"] == pytest.approx(np.var(run[1:], ddof=1), abs=1e-9)
    assert made["meta"]["backbones"] == {"baseline": 2, "candidate": 2}
    assert sum("3 runs are of 2 backbones" in note for note in made["meta"]["notes"]) == 2
    assert "fine-tunings of a backbone, averaged first" in verdict.doubt(one["variance"])


def test_runs_of_one_backbone_alone_say_so_and_count_as_before(folder: Path, tmp_path: Path) -> None:
    sides = [[_tuned(folder, tmp_path / f"{name}.json", name, name[0], 1) for name in names]
             for names in (("a", "a1"), ("b", "b1"))]  # fmt: skip
    made = report.make(folder / "gt.json", *sides, OPTIONS).content
    assert made["meta"]["backbones"] == {"baseline": 2, "candidate": 2}
    assert made["bbox"]["metrics"]["AP"]["variance"]["runs"]["baseline"]["within"] is None
    assert sum("start from one backbone" in note for note in made["meta"]["notes"]) == 2


def test_one_side_may_have_backbones_of_several_seeds_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    first, other = (_tuned(folder, tmp_path / f"{i}.json", "a", str(i), i) for i in (1, 2))
    longer = _tuned(folder, tmp_path / "3.json", "a1", "3", 3, draws=2000)
    report.make(folder / "gt.json", [first, other], [folder / "b.json"], Options(4, 0))
    with pytest.raises(DataError, match=r"runs of one side, MODEL.WEIGHTS"):
        report.make(folder / "gt.json", [first, longer], [folder / "b.json"], Options(4, 0))
