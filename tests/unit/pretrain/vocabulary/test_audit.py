"""The page beside a vocabulary: its numbers add up, it escapes what it shows, a browser opens it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from browser import open_in_browser

from pretrain.posts import files as post_files
from pretrain.posts.records import Columns, Ledger, Post
from pretrain.vocabulary import (
    audit,
    audit_page,
    wordnet,
)
from pretrain.vocabulary import build as vocabulary_builder
from pretrain.vocabulary import job as vocabulary_job
from pretrain.vocabulary import truth as truths
from pretrain.vocabulary.build import Selection
from pretrain.vocabulary.hashtags import Resolver, Rules
from wsl_det import errors
from wsl_det.errors import ConfigError, DataError

HOSTILE = "<script>alert('x')</script>"


def made(path, kind="wordnet", excluded=(), **selection):
    rules, chosen = Rules(excluded=frozenset(excluded)), Selection(kind, **selection)
    built, tally, ledger = vocabulary_builder.build([path], Columns(), rules, chosen, workers=1)
    return audit_page.Made(built, tally, ledger, chosen, Resolver(wordnet.load(), rules))


@pytest.fixture
def path(tmp_path, world):
    more = {
        "p7": ("g.jpg", "#qqqq #qqqq #poodle #bullseye #axes #crane #kitty"),
        "p8": ("h.jpg", "#Bruin #cranes"),
    }
    return world.write_posts(tmp_path / "posts.jsonl", {**world.captions, **more})


@pytest.mark.parametrize("kind", ["in1k", "wordnet", "frequent"])
@pytest.mark.parametrize("limits", [{}, {"size": 2}, {"min_count": 2}])
def test_every_use_is_a_label_or_discarded_for_one_reason(path, kind, limits):
    page = made(path, kind, ["love", "crane"], **limits)
    uses = audit.uses_of(page.tally)
    kept = sum(uses[tag] for entry in page.built.classes for tag in entry.hashtags)
    lost = audit.discarded(page.built, page.tally, page.selection)
    assert kept + sum(row.uses for row in lost) == page.tally.tags
    by_reason = {row.reason: row for row in lost}
    assert by_reason["no noun of WordNet 3.0"].examples[0] == ("qqqq", 2)
    # The plural of an excluded hashtag is excluded, too.
    assert dict(by_reason["on your exclusion list"].examples) == {"crane": 2, "love": 1, "cranes": 1}
    assert ("no synset of ImageNet-1k" in by_reason) == (kind == "in1k")


def test_merged_groups_and_meanings_and_collisions(path):
    page = made(path)
    bear = next(row for row in audit.merged(page.built, page.tally) if row.entry.name == "brown_bear")
    assert bear.posted == [("brownbear", 3), ("ursusarctos", 1)] and not bear.unposted
    crane = next(meanings for entry, meanings in audit.polysemous(page.built) if entry.name == "crane")
    assert {m.wnid: (m.topic, m.in1k) for m in crane}["n03126707"] == ("artifact", True)
    assert {m.topic for m in crane} >= {"animal", "artifact", "person"}
    found = {
        row.hashtag: dict(row.spellings) for row in audit.collisions(page.built, page.tally, page.resolver)
    }
    assert set(found["bullseye"]) >= {"bull's-eye", "bull's_eye"}
    assert set(found["axes"]) == {"ax", "axis"}
    assert "brownbear" not in found


def test_coverage(path):
    page = made(path)
    in1k = {row.wnids[0]: row for row in audit.of_in1k(page.built)}
    assert len(in1k) == 1000
    assert [c.name for c in in1k["n02132136"].sure] == ["brown_bear"] and in1k["n02132136"].sure_posts == 3
    assert not in1k["n02012849"].sure and [c.name for c in in1k["n02012849"].maybe] == ["crane"]
    coco = {row.name: row for row in audit.of_coco(page.built)}
    assert [c.name for c in coco["bear"].sure] == ["brown_bear", "bruin"]  # kinds of bear
    assert "kitty" in [c.name for c in coco["cat"].maybe]  # or a pool of money
    assert [c.name for c in coco["dog"].sure] == ["poodle"]
    assert "crane" in [c.name for c in coco["bird"].maybe]
    assert not coco["stop sign"].wnids and not coco["toaster"].sure


def test_coco_categories_are_what_wordnet_calls_them():
    """Every category but the named exceptions is a lemma of each synset it is mapped to."""
    net, categories = wordnet.load(), wordnet.coco_categories()
    assert len(categories) == 80
    other_words = {
        "cow": "cattle", "handbag": "handbag", "skis": "ski", "sports ball": "ball", "couch": "couch",
        "potted plant": None, "boat": None, "donut": "donut", "tv": "tv", "keyboard": "computer keyboard",
        "cell phone": "cellphone", "dining table": None, "wine glass": "wineglass",
    }  # fmt: skip
    for name, offsets in categories.items():
        wanted = other_words.get(name, name)
        for offset in offsets:
            lemmas = {wordnet.strip(lemma) for lemma in net.synset_lemmas[offset]}
            assert wanted is None or wordnet.strip(wanted) in lemmas, name
    assert [name for name, offsets in categories.items() if not offsets] == ["stop sign"]
    assert "stopsign" not in net
    topics = {
        name: {wordnet.load_relations().topic(o) for o in offsets} for name, offsets in categories.items()
    }
    assert topics["cat"] == topics["bird"] == {"animal"} and topics["mouse"] == topics["kite"] == {"artifact"}


def test_relations_are_wordnets():
    relations = wordnet.load_relations()
    poodle, dog, animal = 2113335, 2084071, 15388
    assert {poodle, dog, animal} <= relations.at_or_above(poodle)
    assert poodle not in relations.at_or_above(dog)
    with pytest.raises(ValueError, match="not a table"):
        wordnet.Relations.parse("else\n", [])


def test_the_page_escapes_what_comes_from_data(path, monkeypatch):
    page = made(path)
    page.tally.unknown.update({HOSTILE: 7})
    page.ledger.skip(HOSTILE, HOSTILE, 1)
    text = audit_page.render(page)
    assert text.count("<script") == 1 and text.count("&lt;script&gt;") >= 3
    assert not re.findall(r"https?://", text) and "src=" not in text
    assert not re.findall(r"url\((?!#)", text)
    assert "{{" not in text and "undefined" not in text.lower()


@pytest.mark.parametrize("width", [1100, 500])
def test_a_browser_opens_it_without_error_or_request(path, tmp_path, width):
    (tmp_path / "vocab.html").write_text(audit_page.render(made(path)), encoding="utf-8")
    opened = open_in_browser(tmp_path / "vocab.html", tmp_path, width)
    assert opened.console == [] and opened.asked == set()
    assert opened.picture.size == (width, 3000)
    # The blue line of the plot is there.
    colors = opened.picture.convert("RGB").crop((0, 0, width, 1200)).getcolors(1 << 20)
    assert (27, 79, 156) in {color for _, color in colors}


def test_plots_of_little_and_of_nothing():
    for numbers in ([], [5], [0], [10**6, 3, 3, 1], list(range(5000, 0, -1))):
        svg = audit_page.zipf([("#1b4f9c", numbers)]).narrow
        assert svg.startswith("<svg") and "nan" not in svg and len(svg) < 40_000


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"id": "a", "wnid": "n02132137"}, "is no noun synset"),
        ({"id": "a", "wnid": "n" + "9" * 5000}, "is no truth"),
        ({"id": "a", "wnid": "n٠٢١٣٢١٣٦"}, "is no truth"),
        ({"id": None, "wnid": "n02132136"}, "is no truth"),
        ({"id": "b", "wnid": "n02113624"}, "id b stands twice"),
    ],
)
def test_a_truth_that_is_none(tmp_path, line, said):
    rows = [{"id": "b", "wnid": "n02132136"}, line]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=rf"t\.jsonl:2.*{said}"):
        truths.read(tmp_path / "t.jsonl")


def test_precision_and_recall(path, tmp_path):
    page = made(path)
    truth = tmp_path / "truth.jsonl"
    rows = {
        "p1": "n02132136",
        "p2": "n02132136",
        "p5": "n02132136",
        "p7": "n02113624",
        "elsewhere": "n02132136",
    }
    truth.write_text("\n" + "".join(json.dumps({"id": i, "wnid": w}) + "\n" for i, w in rows.items()))
    posts = post_files.read([str(path)], Columns(), Ledger())
    quality = audit.measure(posts, truths.read(truth), page.built)
    # p7 is a toy poodle: #poodle is broader, not right. p2: the bear, and Alaska.
    assert (quality.posts, quality.labelled, quality.found) == (4, 3, 2)
    posts = [Post("p7", None, ("poodle", "crane"))]
    one = audit.measure(posts, truths.read(truth), page.built)
    assert (one.labels, one.right, one.broader, one.recall) == (2, 0, 1, 0.0)
    assert "precision: 2 of" in "\n".join(quality.summary())
    text = audit_page.render(audit_page.Made(**{**vars(page), "quality": quality}))
    assert "Labels against the truth" in text and "50.0%" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "p1"}\n', "truth.jsonl:1 is no truth"),
        ('{"id": "p1", "wnid": "n00000001"}\n', "n00000001 is no noun synset"),
        ('\n{"id": "p1", "wnid": "bear"}\n', "truth.jsonl:2 is no truth"),
        ('{"id": "else", "wnid": "n02132136"}\n', "no post's id is in"),
    ],
)
def test_bad_truth(path, tmp_path, text, message):
    (tmp_path / "truth.jsonl").write_text(text)
    job = vocabulary_job.Job(
        [path], Columns(), Rules(), Selection("in1k"), tmp_path / "v.json", None, tmp_path / "truth.jsonl"
    )
    with pytest.raises(DataError, match=message):
        vocabulary_job.run(job, workers=1)
    assert not (tmp_path / "v.json").exists()


def test_absent_truth(tmp_path):
    with pytest.raises(DataError, match=r"truth .*none is no file"):
        truths.read(tmp_path / "none")


def test_where_the_page_goes(path, tmp_path, tool, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--posts", str(path), "--kind", "in1k", "--workers", "1"]
    assert tool("build_vocab")([*words, "--output", "a/vocab.json"]) == 0
    assert Path("a/vocab.html").read_text().startswith("<!doctype html>")
    assert tool("build_vocab")([*words, "--output", "b.json", "--no-audit"]) == 0
    assert tool("build_vocab")([*words, "--output", "c.json", "--audit", "see.html"]) == 0
    assert sorted(p.name for p in tmp_path.glob("*.html")) == ["see.html"]
    assert errors.run(tool("build_vocab"), [*words, "--output", "d.html"]) == 2
    assert "give --audit FILE or --no-audit" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        vocabulary_job.page_beside("x.json", "x.json")


def test_the_disk_is_full(path, tmp_path, tool, monkeypatch, capsys):
    """Nothing half-written stays, the old vocabulary does, and the message names the cause."""
    monkeypatch.chdir(tmp_path)
    words = ["--posts", str(path), "--kind", "in1k", "--workers", "1", "--output", "vocab.json"]
    Path("vocab.json").write_text("old")
    before = sorted(p.name for p in tmp_path.iterdir())

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert errors.run(tool("build_vocab"), words) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert Path("vocab.json").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == before
