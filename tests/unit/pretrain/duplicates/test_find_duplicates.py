"""tools/find_duplicates.py on generated photos: what it finds, refuses, keeps, and what verdicts do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import chromium
import duplicate_world as world
import numpy as np
import pytest

from pretrain.duplicates import rmac
from pretrain.shards import index
from wsl_det import errors
from wsl_det.core import verdicts
from wsl_det.errors import DataError

COPIES = {0: 3, 1: 7, 2: 20}
SMALL = ["--size", "64", "--planted", "4", "--workers", "1", "--neighbours", "5"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """backbone.pth, shards/, annotations/ and val/ with three copies."""
    path = tmp_path_factory.mktemp("duplicates")
    world.backbone(path / "backbone.pth")
    world.shards(path)
    world.coco(path, COPIES)
    return path


@pytest.fixture
def run(folder: Path, tool):
    def search(output: Path, *more: object, **changed: object) -> int:
        given = {"--train": folder / "shards", "--against": folder / "annotations/instances_val.json"}
        given |= {"--backbone": folder / "backbone.pth", **{f"--{k}": v for k, v in changed.items()}}
        words = [str(w) for pair in given.items() if pair[1] is not None for w in pair]
        argv = [*words, "--output", str(output), *SMALL, *map(str, more)]
        return errors.run(tool("find_duplicates"), argv)

    return search


@pytest.fixture(scope="module")
def found(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pretrain.duplicates import review, search

    output = tmp_path_factory.mktemp("found") / "out"
    against = str(folder / "annotations/instances_val.json")
    request = review.Request(folder / "shards", (against,), str(folder / "backbone.pth"), output)
    options = search.Options(rmac.Settings(size=64), neighbours=5, planted=4, threshold=0.999, workers=1)
    review.find(request, options)
    return output


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_copies_are_found_and_nothing_else(folder: Path, found: Path) -> None:
    content = read(found / "candidates.json")
    pairs = {(p["image_id"], p["train_row"]) for p in content["pairs"]}
    posts = index.open_index(folder / "shards")
    assert pairs == {(10 + i, row) for i, row in COPIES.items()}
    assert all(p["train"] == posts.key(p["train_row"]) for p in content["pairs"])
    assert content["made_from"]["train"]["sha256"] == posts.sha256
    assert content["sets"][0]["images"] == 7
    with np.load(found / "neighbours.instances_val.npz") as kept:
        assert kept["score"].shape == (7, 5)
        assert (np.diff(kept["score"], axis=1) <= 0).all()
    one = read(found / "calibration.json")["sets"]["instances_val"]
    assert set(one["kinds"]) == {"crop", "flip", "recompress", "resize", "overlay", "several"}
    assert one["same_class"]["pairs"] > 0


def test_the_threshold_reaches_its_recall_and_is_the_highest_that_does(run, tmp_path: Path) -> None:
    assert run(tmp_path / "out", "--recall", "0.5") == 0
    one = read(tmp_path / "out/calibration.json")["sets"]["instances_val"]
    assert one["mean_recall"] >= 0.5
    stricter = [row for row in one["curve"] if row["threshold"] > one["threshold"] + 1e-6]
    assert all(np.mean(list(row["recall"].values())) < 0.5 for row in stricter)


@pytest.mark.slow
def test_workers_and_cache_change_nothing(run, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert run(tmp_path / "one", "--threshold", "0.9", "--cache", cache) == 0
    stored = sorted(cache.rglob("*.npz"))
    assert stored
    stored[0].write_bytes(stored[0].read_bytes()[:100])  # torn: made anew
    assert run(tmp_path / "two", "--threshold", "0.9", "--cache", cache) == 0
    assert run(tmp_path / "three", "--threshold", "0.9", "--workers", "2") == 0
    first, second, third = (read(tmp_path / n / "candidates.json") for n in ("one", "two", "three"))
    assert first["pairs"] == second["pairs"] == third["pairs"]
    assert first["sha256"] == second["sha256"] == third["sha256"]
    assert stored[0].stat().st_size > 100


def test_the_shards_against_themselves(run, tool, tmp_path: Path) -> None:
    work = tmp_path / "again"
    work.mkdir()
    world.shards(work, 6)
    lines = [json.loads(line) for line in (work / "posts.jsonl").read_text().splitlines()]
    twin = {**lines[1], "id": "twin"}
    (work / "posts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, twin]))
    shutil.rmtree(work / "shards")
    words = ["--posts", work / "posts.jsonl", "--images", work / "images", "--vocab", work / "vocab.json"]
    assert tool("build_shards")([*map(str, words), "--output", str(work / "shards"), "--workers", "1"]) == 0
    assert run(tmp_path / "out", "--self", "--threshold", "0.9999", train=work / "shards", against=None) == 0
    pairs = read(tmp_path / "out/candidates.json")["pairs"]
    assert [(p["image"], p["train"]) for p in pairs] == [("p1", "twin")]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"backbone": "notes.txt"}, "notes.txt"),
        ({"against": "empty"}, "holds no images"),
        ({"against": "broken"}, r"none of the 2 images of set broken can be read"),
        ({"against": "nowhere"}, "does not exist"),
        ({"against": "torn.json"}, "not whole JSON"),
        ({"against": "list.json"}, "expected a COCO annotation file"),
        ({"train": "empty"}, "dataset.json"),
    ],
)
def test_bad_input_is_one_clear_message_and_nothing_written(
    run, tmp_path, capsys, monkeypatch, changed, message
):
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("no weights")
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/a.jpg").write_bytes(world.photo(1)[:200])
    Path("broken/b.png").write_bytes(b"no image")
    Path("torn.json").write_text('{"images": [')
    Path("list.json").write_text("[1, 2]")
    assert run(tmp_path / "out", **changed) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_unreadable_images_are_listed_and_the_rest_is_searched(run, tmp_path: Path) -> None:
    some = tmp_path / "some"
    some.mkdir()
    (some / "good.jpg").write_bytes(world.photo(3))
    (some / "cut.jpg").write_bytes(world.photo(4)[:300])
    assert run(tmp_path / "out", "--threshold", "0.999", against=some) == 0
    rows = [json.loads(line) for line in (tmp_path / "out/rejected.jsonl").read_text().splitlines()]
    assert [(row["set"], row["image"]) for row in rows] == [("some", "cut.jpg")]
    assert [p["train_row"] for p in read(tmp_path / "out/candidates.json")["pairs"]] == [3]


def test_a_filled_output_and_a_rotated_photo(run, tmp_path: Path) -> None:
    from io import BytesIO

    from PIL import Image

    image = Image.open(BytesIO(world.photo(5)))
    exif = Image.Exif()
    exif[0x0112] = 6
    some = tmp_path / "turned"
    some.mkdir()
    # Lying on its side, with the note that says so: upright it is training photo 5.
    image.rotate(90, expand=True).save(some / "a.jpg", quality=98, exif=exif)
    assert run(tmp_path / "out", "--threshold", "0.99", against=some) == 0
    assert [p["train_row"] for p in read(tmp_path / "out/candidates.json")["pairs"]] == [5]
    assert run(tmp_path / "out", "--threshold", "0.99", against=some) == 2


def test_verdicts_come_back_and_two_readers_are_compared(found: Path, tool, tmp_path: Path, capsys) -> None:
    a = world.judge(found, {0: "yes", 1: "yes", 2: "no"}, tmp_path / "a.json")
    b = world.judge(found, {0: "yes", 1: "no", 2: "no"}, tmp_path / "b.json", "<bob>")
    assert tool("find_duplicates")(["--output", str(found), "--verdicts", str(a), str(b)]) == 0
    said = capsys.readouterr().out
    assert "2 of 7 images of instances_val are duplicates (28.57%)" in said
    assert "66.7% agree, Cohen's kappa 0.400" in said  # chance: (2 * 1 + 1 * 2) / 9
    assert (found / "review.ann.html").is_file() and (found / "review.-bob-.html").is_file()
    assert tool("compare_verdicts")([str(a), str(b), "--output", str(tmp_path / "both.json")]) == 0
    both = verdicts.read(tmp_path / "both.json")
    assert [row.verdict for row in both.rows] == ["yes", "unsure", "no"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(kind="other"), "no verdicts file"),
        (lambda v: v.update(schema=2), "schema 2"),
        (lambda v: v.pop("sets"), "lacks 'sets'"),
        (lambda v: v["verdicts"][0].update(verdict="maybe"), "'maybe'"),
        (lambda v: v["verdicts"][0].update(pair=99), "no pair 99"),
        (lambda v: v["verdicts"][1].update(pair=0), "judged twice"),
        (lambda v: v["verdicts"][0].update(set="x"), "set 'x'"),
        (lambda v: v["verdicts"][0].update(train_row="3"), "expected a whole number"),
        (lambda v: v["made_from"]["candidates"].update(sha256="0" * 64), "another search"),
        (lambda v: v["verdicts"][0].update(train="p999"), "p999"),
    ],
)
def test_damaged_or_foreign_verdicts_are_refused(found: Path, tmp_path: Path, change, message) -> None:
    from pretrain.duplicates import review

    path = world.judge(found, {0: "yes", 1: "no"}, tmp_path / "v.json")
    value = read(path)
    change(value)
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match=message):
        review.take_back(found, path)
    path.write_text(path.read_text()[:50])
    with pytest.raises(DataError, match="not whole JSON"):
        verdicts.read(path)


def test_the_page_stands_alone_and_escapes_what_comes_from_data(found: Path) -> None:
    page = (found / "review.html").read_text()
    assert "<b>0 & co" not in page
    assert "\\u003cb\\u003e0 \\u0026 co.jpg" in page
    assert "https://" not in page
    assert page.count("data:image/jpeg;base64,") == 2 * len(COPIES)


@pytest.mark.parametrize("size", [(1100, 820), (390, 800)])
def test_a_person_judges_with_keys_and_taps(found: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    url, pairs = (found / "review.html").as_uri(), read(found / "candidates.json")["pairs"]
    with chromium.browser(tmp_path) as page:
        page.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        page.open(url, size)
        hostile = next(i for i, pair in enumerate(pairs) if pair["image"].startswith("<b>"))
        shown = "document.getElementById('test-name').textContent"
        assert page.value(f"(go({hostile}), {shown})") == pairs[hostile]["image"]
        assert page.value(f"(go(0), {shown})") == pairs[0]["image"]
        page.value("localStorage.clear()")
        page.press("y")
        page.press("n")
        assert page.value("document.getElementById('count').textContent") == "2 of 3 judged"
        page.press("z")
        assert page.value("document.getElementById('count').textContent") == "1 of 3 judged"
        assert page.value("document.getElementById('number').textContent") == "Pair 2 of 3"
        page.tap("#rest")
        assert page.value("JSON.stringify([...given])") == '[[0,"yes"],[1,"no"],[2,"no"]]'
        page.press("z")  # all of them at once
        assert page.value("JSON.stringify([...given])") == '[[0,"yes"]]'
        page.tap("[data-verdict=unsure]")
        page.press("ArrowLeft")
        picture = "document.getElementById('test').src"
        own = page.value(picture)
        page.hold("b")
        assert page.value(picture) == page.value("document.getElementById('train').src")
        page.release("b")
        assert page.value(picture) == own
        page.press("s")  # without a name nothing is saved
        assert page.value("document.activeElement.id") == "reader"
        page.write("Ann <1>")
        page.value("document.activeElement.blur()")
        page.open(url, size)  # what was said survives
        assert page.value("document.getElementById('count').textContent") == "2 of 3 judged"
        page.tap("#save")
        page.until("document.getElementById('say').textContent.startsWith('Saved')")
        path = downloads / "verdicts.Ann-1-.json"
        _wait(path)
        assert page.value("document.documentElement.scrollWidth") <= size[0]
        assert page.complaints == []
        assert {r.partition(":")[0] for r in page.requests} <= {"file", "data", "blob"}
    saved = verdicts.read(path)
    assert saved.reader == "Ann <1>"
    assert saved.counts() == {"yes": 1, "no": 0, "unsure": 1, "unjudged": 1}
    assert saved.candidates == read(found / "candidates.json")["sha256"]
    assert [(row.pair, row.verdict) for row in saved.rows] == [(0, "yes"), (1, "unsure")]


def _wait(path: Path) -> None:
    import time

    end = time.monotonic() + 30
    while not path.is_file():
        assert time.monotonic() < end, list(path.parent.iterdir())
        time.sleep(0.05)
