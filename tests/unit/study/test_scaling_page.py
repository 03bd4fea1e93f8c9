"""The page, figures and json of a scaling study; the paper's own figures; the committed study."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from browser import open_in_browser
from PIL import Image

from wsl_det import errors
from wsl_det.cli import main as wsl_det
from wsl_det.errors import ConfigError
from wsl_det.study.scaling import bound, content, entries, layout, points, words

ROOT = Path(__file__).parents[3]
SIZES = (1442, 2824, 5580, 10988)
SLOPES = {("8x4d", "natural"): 8, ("8x4d", "sqrt"): 9, ("8x16d", "natural"): 14, ("8x16d", "sqrt"): 13}


def _rows(**more: Any) -> list[dict[str, Any]]:
    rows = []
    for i, ((capacity, sampling), slope) in enumerate(SLOPES.items()):
        for j, images in enumerate(SIZES):
            value = round(10 + slope * math.log10(images / 1000) + 0.1 * math.cos(7 * i + 3 * j), 3)
            row = {"target": "posts", "capacity": capacity, "images": images, "sampling": sampling}
            rows.append({**row, "value": value, "interval": [value - 1.5, value + 1.5], **more})
    return rows


def _study(folder: Path, rows: list[dict[str, Any]], **more: Any) -> entries.Study:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({"entries": rows, **more}))
    return entries.read(path)


def test_content_holds_slopes_comparisons_and_words(tmp_path: Path) -> None:
    found = content.collect(_study(tmp_path, _rows()))
    assert [figure["kind"] for figure in found["figures"]] == ["images", "sampling", "capacity"]
    (panel,) = found["figures"][0]["panels"]
    assert [one["name"] for one in panel["series"]] == [", ".join(key) for key in SLOPES]
    for one, slope in zip(panel["series"], SLOPES.values(), strict=True):
        low, high = one["fit"]["slope"]["interval"]
        assert low < slope < high
        assert one["fit"]["a_doubling"] == pytest.approx(math.log10(2) * one["fit"]["slope"]["value"])
        assert len(one["points"]) == 4
    assert panel["scatter"]["df"] == 8
    assert panel["scatter"]["ratio"] < 0.3  # the errors of test images overstate the scatter
    assert [one["group"] for one in panel["comparisons"]] == ["natural", "sqrt"]
    assert panel["mean_difference"]["value"] == pytest.approx(5, abs=0.5)
    assert len(panel["words"]) == 3
    json.dumps(found, allow_nan=False)


def test_fewer_than_three_sizes_have_no_line_and_the_page_says_so(tmp_path: Path) -> None:
    rows = [row for row in _rows() if row["images"] in SIZES[:2]]
    (panel,) = content.collect(_study(tmp_path, rows, figures=["images"]))["figures"][0]["panels"]
    assert all(one["fit"] is None for one in panel["series"])
    assert (
        "2 sizes, no line is fitted under 3"
        in content.write(_study(tmp_path, rows, figures=["images"]), tmp_path / "out")[0].read_text()
    )


def test_page_and_figures_stand_alone_and_escape_what_they_show(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script> $x$"
    rows = _rows(vocabulary="v") + _rows(vocabulary=evil)
    study = _study(
        tmp_path, rows, title="<i>sizes</i>", targets={"posts": {"label": "<b>posts</b>"}}, paper=True
    )
    path, told = content.write(study, tmp_path / "out")
    text = path.read_text()
    assert {file.suffix for file in path.parent.iterdir()} == {".html", ".json", ".svg", ".png"}
    assert len(list(path.parent.glob("*.svg"))) == len(list(path.parent.glob("*.png"))) == 3
    assert text.count("<script") == 1  # the pages’ own
    for tag in ("<i>", "<b>"):
        assert tag not in text
    assert text.count("&lt;script&gt;") >= 2
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    assert not re.search(r"<\?xml|<!DOCTYPE svg", text)
    assert any("points per tenfold" in line for line in told)


def test_a_refused_study_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _study(tmp_path, [*_rows(), _rows()[0]])
    line = ["plot_scaling", str(tmp_path / "study.yaml"), "--output", str(tmp_path / "out")]
    assert errors.run(wsl_det, line) == 2
    assert "same pretraining on the same target" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_figure_needs_something_that_varies(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="figure noise: no entries for it; it needs two values of noise"):
        layout.figures(_study(tmp_path, _rows(), figures=["noise"]))
    with pytest.raises(ConfigError, match="the entries vary nothing that a figure could show"):
        layout.figures(_study(tmp_path, _rows()[:1]))


def test_no_two_bars_stand_in_one_place(tmp_path: Path) -> None:
    rows = [
        row | {"noise": noise} for row in _rows(vocabulary="a") + _rows(vocabulary="b") for noise in (0, 0.5)
    ]
    (figure,) = layout.figures(_study(tmp_path, rows, figures=["sampling"]))
    (panel,) = figure["panels"]
    places = [
        (one["name"], layout.place("sampling", point, panel))
        for one in panel["series"]
        for point in one["points"]
    ]
    assert len(places) == len(set(places)) == 16
    assert "8x4d\na\n50% noise" in panel["order"]


def test_the_papers_lines_stand_beside_the_same_target_or_apart(tmp_path: Path) -> None:
    same = _study(tmp_path, [{**row, "protocol": "features"} for row in _rows(target="IN-1k")], paper=True)
    (panel,) = layout.figures(same)[0]["panels"]
    assert [one["paper"] for one in panel["series"]] == [False] * 4 + [True] * 6
    # A fine-tuned network's accuracy is another number than a linear classifier's.
    other = _study(tmp_path, [{**row, "protocol": "finetune"} for row in _rows(target="IN-1k")], paper=True)
    assert [panel["paper"] for panel in layout.figures(other)[0]["panels"]] == [None, 2]
    posts = layout.figures(_study(tmp_path, _rows(), paper=True))
    assert [panel["paper"] for panel in posts[0]["panels"]] == [None, 2]
    assert [one["name"] for one in posts[1]["panels"][1]["series"]] == ["natural", "sqrt", "uniform"]
    assert all("Mahajan" in figure["sources"][0] for figure in posts)


def test_the_papers_numbers_agree_among_its_figures() -> None:
    curves = {(p.target, p.vocabulary, p.capacity, p.images): p for p in points.of_paper(2)}
    assert len(curves) == 132
    for figure, at, capacity in ((3, "noise", "32x16d"), (4, "sampling", "32x4d")):
        for point in points.of_paper(figure):
            if getattr(point, at) in (0, "sqrt"):
                assert curves[point.target, "17k", capacity, 1e9].value == point.value
    best = {point.capacity: point.value for point in points.of_paper(5) if point.images}
    assert best["32x16d"] == next(p.value for p in points.of_paper(1) if p.name == "IG-940M-1.5k")
    assert {p.reading for figure in range(1, 6) for p in points.of_paper(figure)} == {None, 0.2, 0.05}


def test_the_committed_yaml_draws_the_papers_five_figures(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert wsl_det(["plot_scaling", str(ROOT / "docs/scaling/paper.yaml"), "--output", str(out)]) == 0
    found = json.loads((out / "scaling.json").read_text())
    assert [figure["kind"] for figure in found["figures"]] == list(entries.KINDS)
    shapes = [[len(panel["series"]) for panel in figure["panels"]] for figure in found["figures"]]
    assert shapes == [[5], [6, 6, 6, 6], [1, 1, 1], [3], [2]]
    for picture in out.glob("*.png"):
        assert Image.open(picture).width > 1000
    text = (out / "scaling.html").read_text()
    assert "digitised from it, ±0.2 points" in text
    for one in found["figures"][1]["panels"][1]["comparisons"]:
        assert one["verdict"] in text


def test_the_committed_study_is_readable_and_drawn_where_its_results_lie(tmp_path: Path) -> None:
    path = ROOT / "docs/scaling/hashtag_posts.yaml"
    study = entries.read(path)
    assert len(study.entries) == 32
    results = [file for entry in study.entries for file in entry.files]
    if not all(file.is_file() for file in results):
        pytest.skip("the study's results are not beside its YAML")
    for file in results:
        assert not re.search(r'[" ]/[a-z]', file.read_text()), f"{file} holds a path of a machine"
    found = content.collect(study)
    assert len(found["figures"][0]["panels"]) == 2
    assert found["answer"] == [
        "Held-out posts, any tag among the 5 best: more photos help; that they help a larger trunk more is "
        "not shown.",
        "True classes, top-1 accuracy: that more photos help is not shown, and on 1 of 4 curves they hurt; "
        "that they help a larger trunk more is not shown.",
    ]


@pytest.mark.parametrize(
    ("ends", "verdict", "told"),
    [
        ([(1, 2), (0.5, 3)], bound.BOUND, "more photos help; the smaller trunk cannot use them"),
        ([(-2, -1)], bound.REVERSED, "more photos hurt; they help the smaller trunk more"),
        ([(1, 2), (-1, 3)], bound.OPEN, "more photos help on 1 of 2 curves; they help the larger trunk more"),
    ],
)
def test_the_answer_says_no_more_than_intervals_and_verdicts(
    ends: list[tuple[float, float]], verdict: str, told: str
) -> None:
    series = [{"paper": False, "fit": {"slope": {"interval": list(one)}}} for one in ends]
    panel = {"title": "posts", "axis": "recall", "series": series, "comparisons": [{"verdict": verdict}]}
    assert words.answer([panel])[0].startswith(f"Posts, recall: {told}")


@pytest.mark.parametrize("width", [1100, 500])
def test_the_page_opens_in_a_browser(width: int, tmp_path: Path) -> None:
    path, _ = content.write(_study(tmp_path, _rows()), tmp_path / "out")
    opened = open_in_browser(path, tmp_path, width)
    assert not opened.console
    assert not opened.asked


def test_collected_results_keep_their_numbers_and_lose_their_paths(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "8x4d_sqrt_1.0"
    run.mkdir(parents=True)
    command = "pretrain_net.py --config-file /root/x/quick.yaml 'a b' OUTPUT_DIR runs/8x4d"
    written = {"recall": {"recall_any@5": 22.1}, "meta": {"command": command}, "backbone": ["/root/b.pth", 1]}
    (run / "results.json").write_text(json.dumps(written))
    script = [
        sys.executable,
        str(ROOT / "docs/scaling/collect.py"),
        str(tmp_path / "runs"),
        str(tmp_path / "out"),
    ]
    subprocess.run(script, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    found = json.loads((tmp_path / "out" / "8x4d_sqrt_1.0.json").read_text())
    assert found["recall"] == written["recall"]
    assert found["meta"]["command"] == "pretrain_net.py --config-file quick.yaml 'a b' OUTPUT_DIR runs/8x4d"
    assert found["backbone"] == ["b.pth", 1]


def test_shipped_studies_are_found_by_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert wsl_det(["plot_scaling", "paper.yaml", "--output", "out"]) == 0
    assert errors.run(wsl_det, ["plot_scaling", "docs/scaling/papr.yaml", "--output", "out"]) == 2
    assert "papr.yaml does not exist" in capsys.readouterr().err
