"""Detection classes joined to what pretraining saw: synsets, kinds, meanings; odd files refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pretrain.shards import detection_classes
from pretrain.vocabulary import wordnet
from pretrain.vocabulary.classes import Vocabulary, VocabularyClass
from tools import expect_gain
from wsl_det.coco import reader
from wsl_det.errors import DataError

POSTED = {"dog": 40, "poodle": 20, "crane": 10, "zebra": 0, "sunflower": 5}


def vocabulary(counts: dict[str, int] = POSTED) -> Vocabulary:
    net = wordnet.load()
    tags = sorted(counts)
    return Vocabulary(
        "wordnet",
        tuple(
            VocabularyClass(i, tag, tuple(map(wordnet.wnid, net.synsets(tag))), (tag,), counts[tag])
            for i, tag in enumerate(tags)
        ),
    )


def truth(**synsets: str) -> reader.GroundTruth:
    categories = [{"id": i, "name": name} for i, name in enumerate(synsets, start=3)]
    for category in categories:
        if synsets[category["name"]]:
            category["synset"] = synsets[category["name"]]
    return reader.from_tree({"images": [{"id": 1}], "categories": categories, "annotations": []})


def by_name(content: dict) -> dict[str, dict]:
    return {row["name"]: row for row in content["classes"]}


@pytest.fixture
def vocab(tmp_path: Path) -> Path:
    vocabulary().write(tmp_path / "vocab.json")
    return tmp_path / "vocab.json"


def test_a_class_takes_its_hashtags_and_those_of_its_kinds(vocab: Path) -> None:
    rows = by_name(detection_classes.of(vocab))
    assert len(rows) == 80
    # Of seven meanings of dog three are people, one a sausage; a poodle is nothing else.
    dog = rows["dog"]
    assert (dog["hashtags"], dog["sure"], dog["most"]) == (40 / 7 + 20, 20, ["dog", "poodle"])
    assert rows["person"]["hashtags"] == pytest.approx(40 * 3 / 7 + 10 * 2 / 5) and not rows["person"]["sure"]
    assert rows["bird"]["hashtags"] == 10 / 5 and rows["bird"]["sure"] == 0  # a crane, or a machine
    assert rows["zebra"]["hashtags"] == 0 and not rows["zebra"]["covered"]  # listed and never posted
    assert [name for name, row in rows.items() if row["should_gain"]] == ["person", "dog"]
    assert rows["stop sign"]["should_gain"] is None and "no noun" in rows["stop sign"]["source"]


def test_synsets_come_from_the_file_the_table_or_a_name_of_one_meaning(vocab: Path) -> None:
    asked = truth(anything="dog.n.01", Dog="", sunflower="", crane="", sign="stop_sign.n.01", x="n02113335")
    rows = by_name(detection_classes.of(vocab, asked))
    assert [row["category_id"] for row in rows.values()] == [3, 4, 5, 6, 7, 8]
    assert [row["hashtags"] for row in rows.values()] == [40 / 7 + 20] * 2 + [5, 0, 0, 20]
    assert [row["should_gain"] for row in rows.values()] == [True, True, False, None, None, False]
    assert "says which" in rows["crane"]["source"] and "stop_sign.n.01" in rows["sign"]["source"]


def test_every_name_that_wordnet_gives_is_found() -> None:
    assert wordnet.named("dog.n.01") == wordnet.named("n02084071") == 2084071
    assert wordnet.named("bowl.n.03") == 2880940 and wordnet.named("Bowl.n.01") == 2881193
    for wrong in (
        "dog",
        "dog.n." + "1" * 5000,
        "dog.n.99",
        "dog.n.00",
        "dog.v.01",
        "",
        "n00000001",
        "dog.n.²",
        ".n.01",
    ):
        assert wordnet.named(wrong) is None, wrong


def test_every_class_of_coco_says_why_it_is_mapped_so() -> None:
    lines = Path(wordnet.__file__).parent.joinpath("data", wordnet.COCO).read_text().splitlines()
    assert len(lines) == 80 and all(len(line.split("\t")) == 3 and line.split("\t")[2] for line in lines)


def shards(folder: Path, counts: object, sha256: str | None = None) -> Path:
    made = vocabulary()
    made.write(folder / "vocab.json")
    told = {"vocabulary": sha256 or made.sha256, "class_counts": counts}
    (folder / "dataset.json").write_text(json.dumps(told))
    return folder


def test_shards_count_images(tmp_path: Path) -> None:
    content = detection_classes.of(shards(tmp_path, [1, 2, 3, 4, 5]))
    rows = by_name(content)
    assert (
        content["counted"] == "images"
        and rows["dog"]["hashtags"] == 2 / 7 + 3
        and rows["zebra"]["hashtags"] == 5
    )


@pytest.mark.parametrize("counts", [None, [1, 2], [1, 2, 3, 4, -5], [1, 2, 3, 4, "5"], [1, 2, 3, 4, True]])
def test_counts_that_are_none_are_refused(tmp_path: Path, counts: object) -> None:
    with pytest.raises(DataError, match=r"dataset\.json has no class_counts for the 5 classes"):
        detection_classes.of(shards(tmp_path, counts))


def test_other_files_are_refused(tmp_path: Path, vocab: Path) -> None:
    with pytest.raises(DataError, match="class_counts"):
        detection_classes.of(shards(tmp_path, [1] * 5, "0" * 64))
    with pytest.raises(DataError, match="does not exist"):
        detection_classes.of(tmp_path / "none")
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(DataError, match="no vocabulary"):
        detection_classes.of(tmp_path / "other.json")
    for name in ("n00000001", "dog.n.01"):
        strange = Vocabulary("wordnet", (VocabularyClass(0, "x", (name,), ("x",), 1),))
        strange.write(tmp_path / "strange.json")
        with pytest.raises(DataError, match=name):
            detection_classes.of(tmp_path / "strange.json")


def test_what_is_said_beforehand_is_read_back(vocab: Path, tmp_path: Path, capsys) -> None:
    assert expect_gain.main(["--vocab", str(vocab), "--output", str(tmp_path / "said.json")]) == 0
    told = capsys.readouterr().out
    assert "80 classes, " in told and "dog 26" in told and "stop sign" in told
    read = detection_classes.of(tmp_path / "said.json")
    assert read.pop("said_in")["path"] == str(tmp_path / "said.json")
    assert read == json.loads((tmp_path / "said.json").read_text())
    # It says what it said; with other annotations it would say it of these.
    words = ["--vocab", str(tmp_path / "said.json"), "--output", str(tmp_path / "again.json")]
    with pytest.raises(DataError, match="is what expect_gain wrote"):
        expect_gain.main(words)
    assert not (tmp_path / "again.json").exists()
