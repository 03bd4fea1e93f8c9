"""Shards whose labels are true classes: a truth beside the posts, class folders, .cls members."""

from __future__ import annotations

import json
import os
import shutil
from itertools import pairwise

import numpy as np
import pytest
from test_samples import write_tar

from pretrain.posts.records import Columns
from pretrain.shards import build as shard_builder
from pretrain.shards import index
from pretrain.vocabulary.classes import Vocabulary, VocabularyClass
from wsl_det import errors

BEAR, FISH, CRANE = "n02132136", "n01443537", "n02012849"
TRUTH = {"p1": [BEAR], "p2": [BEAR, FISH], "p3": [CRANE], "p4": ["n02084071"], "p6": [FISH]}


@pytest.fixture
def made(tmp_path, world, monkeypatch):
    """The world's posts and photos, their truth, a vocabulary in which the crane has two classes."""
    world.write_images(tmp_path / "images")
    world.write_posts(tmp_path / "posts.jsonl")
    names = {"brown_bear": (BEAR,), "goldfish": (FISH,), "crane": (CRANE,), "bird": (CRANE, "n01503061")}
    classes = [
        VocabularyClass(i, name, synsets, (name.replace("_", ""),), 1)
        for i, (name, synsets) in enumerate(names.items())
    ]
    Vocabulary("wordnet", tuple(classes)).write(tmp_path / "vocab.json")
    write_truth(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_truth(folder, rows=TRUTH):
    lines = [json.dumps({"id": name, "synsets": found}) for name, found in rows.items()]
    (folder / "truth.jsonl").write_text("\n".join(lines))


def folders(made, photos):
    """Class folders with the world's photos: {class: names of photos}."""
    for label, names in photos.items():
        (made / "classes" / label).mkdir(parents=True)
        for name in names:
            shutil.copy(made / "images" / f"{name}.jpg", made / "classes" / label / f"{name}.jpg")


def tar(made, classes):
    """A tar of samples: (photo, what its .cls holds)."""
    members = []
    for name, text in classes:
        members += [(f"{name}.jpg", (made / "images" / f"{name}.jpg").read_bytes()), (f"{name}.cls", text)]
    write_tar(made / "a.tar", members)


POSTS = ["--posts", "posts.jsonl", "--images", "images"]


def run(tool, name, *words):
    argv = [*words, "--vocab", "vocab.json", "--workers", "1", "--output", "out"]
    try:
        return errors.run(tool(name), [str(word) for word in argv])
    except SystemExit as end:
        return end.code


def test_a_truth_gives_labels_of_a_second_kind(made, tool, capsys):
    assert run(tool, "build_shards", *POSTS, "--truth", "truth.jsonl") == 0
    found = index.open_index("out")
    offsets, values = found.kinds["synsets"]
    true = [values[a:b].tolist() for a, b in pairwise(offsets)]
    # p4 is a dog, which no class has; a synset in two classes takes both.
    assert [found.key(i) for i in range(5)] == ["p1", "p2", "p3", "p4", "p6"]
    assert true == [[0], [0, 1], [2, 3], [], [1]]
    assert found.labels(4).tolist() == [1] and found.kinds["hashtags"][1] is found.label_values
    dataset = json.loads((made / "out/dataset.json").read_text())
    assert dataset["label_kinds"] == ["hashtags", "synsets"]
    assert dataset["in_no_arm"] == {"true class in no class of the vocabulary": 1}
    assert dataset["synset_class_counts"] == [2, 2, 1, 1]
    assert dataset["made_from"]["truth"]["path"] == "truth.jsonl"
    assert "1 images in no arm of a comparison: true class in no class" in capsys.readouterr().out


def test_photos_without_a_truth_stay_with_their_hashtags(made, tool):
    write_truth(made, {"p1": [BEAR], "p6": []})
    assert run(tool, "build_shards", *POSTS, "--truth", "truth.jsonl") == 0
    dataset = json.loads((made / "out/dataset.json").read_text())
    assert (dataset["images"], dataset["in_no_arm"]) == (5, {"true class not known": 4})


def test_class_folders_by_synset_and_by_name(made, tool):
    folders(made, {BEAR: "ab", "Gold fish": "c", "no such thing": "d", CRANE: "e"})
    for name in (b"loose.jpg", BEAR.encode() + b"/\xff.jpg"):
        shutil.copy(made / "images/f.jpg", os.path.join(os.fsencode(made / "classes"), name))
    assert run(tool, "build_shards", "--kind", "folders", "--images", "classes") == 0
    found = index.open_index("out")
    assert list(found.kinds) == ["synsets"]
    labels = {found.key(i).split("_")[0]: found.labels(i).tolist() for i in range(len(found))}
    assert labels == {"Gold": [1], BEAR: [0], CRANE: [2, 3]}
    dataset = json.loads((made / "out/dataset.json").read_text())
    assert dataset["skipped"]["posts"] == {"true class in no class of the vocabulary": 1}
    assert dataset["skipped"]["records"] == {"a name that is not UTF-8": 1, "not in a class folder": 1}


@pytest.mark.parametrize("door", ["build_shards", "index_shards"])
@pytest.mark.parametrize("numbers", [True, False])
def test_cls_members(made, tool, door, numbers):
    (made / "list.txt").write_text(f"{CRANE}\n{BEAR}\n")
    tar(made, [("a", b"1\n" if numbers else BEAR.encode()), ("b", b"0" if numbers else b"crane")])
    source = "--samples" if door == "build_shards" else "--shards"
    more = ["--classes", "list.txt"] if numbers else []
    assert run(tool, door, "--kind", "cls", source, "a.tar", *more) == 0
    found = index.open_index("out")
    assert list(found.kinds) == ["synsets"]
    assert [found.labels(i).tolist() for i in range(2)] == [[0], [2, 3] if numbers else [2]]


@pytest.mark.parametrize(
    ("words", "photos", "message"),
    [
        (
            ["--kind", "folders", "--images", "classes"],
            {BEAR: "a", FISH: ""},
            f"1 of 2 classes hold no photo ({FISH})",
        ),
        (["--kind", "folders", "--images", "classes"], {BEAR: "a", FISH: "a"}, "one photo is in two classes"),
        (["--kind", "folders", "--images", "images"], {}, "has no class folders"),
        (["--kind", "folders", "--images", "absent"], {}, "absent is no folder"),
        (["--kind", "folders", "--images", "classes"], {"thing": "a"}, "no image is left"),
        (["--kind", "folders", "--images", "classes", "--truth", "truth.jsonl"], {}, "--truth is of posts"),
        (["--kind", "folders", *POSTS], {}, "takes one --images DIR"),
        (["--kind", "cls", *POSTS], {}, "--kind cls takes --samples"),
        ([*POSTS, "--classes", "truth.jsonl"], {}, "--classes is of --kind cls"),
        ([*POSTS, "--truth", "absent.jsonl"], {}, "truth absent.jsonl is no file"),
    ],
)
def test_bad_class_folders_end_in_one_message(made, tool, capsys, words, photos, message):
    folders(made, photos)
    assert run(tool, "build_shards", *words) == 2
    assert message in capsys.readouterr().err
    assert not (made / "out").exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({**TRUTH, "p9": [BEAR]}, "1 of 6 ids are of no post (p9)"),
        ({"q1": [BEAR]}, "1 of 1 ids are of no post"),
        ({"p1": ["n02084071"]}, "no image is left"),
        ({"p1": [BEAR, "bear"]}, "truth.jsonl:1 is no truth"),
        ({"p1": BEAR}, "truth.jsonl:1 is no truth"),
    ],
)
def test_a_truth_of_other_posts_ends_in_one_message(made, tool, capsys, rows, message):
    write_truth(made, rows)
    assert run(tool, "build_shards", *POSTS, "--truth", "truth.jsonl") == 2
    assert message in capsys.readouterr().err
    assert not (made / "out").exists()


@pytest.mark.parametrize("door", ["build_shards", "index_shards"])
@pytest.mark.parametrize(
    ("classes", "listed", "message"),
    [
        ([("a", b"0"), ("b", b"1")], None, "is the number 0; give --classes"),
        ([("a", b"0"), ("b", b"2")], f"{CRANE}\n{BEAR}", "is the number 2; --classes lists 2, from 0"),
        ([("a", b"9" * 5000)], BEAR, "is the number 999"),
        ([("a", b"0")], f"{BEAR}\n{BEAR}\n", "stands twice"),
        ([("a", b"0")], "", "is empty"),
        ([("a", b"")], BEAR, "a .cls that is empty or no text"),
        ([("a", b"\xff\xfe")], BEAR, "a .cls that is empty or no text"),
        ([("a", BEAR.encode()), ("a/x", FISH.encode())], None, "one photo is in two classes"),
    ],
)
def test_bad_cls_members_end_in_one_message(made, tool, capsys, door, classes, listed, message):
    (made / "images/a").mkdir()
    shutil.copy(made / "images/a.jpg", made / "images/a/x.jpg")
    tar(made, classes)
    more = []
    if listed is not None:
        (made / "list.txt").write_text(listed)
        more = ["--classes", "list.txt"]
    source = "--samples" if door == "build_shards" else "--shards"
    assert run(tool, door, "--kind", "cls", source, "a.tar", *more) == 2
    assert message in capsys.readouterr().err
    assert not (made / "out").exists()


def build(**more):
    options = shard_builder.Options(workers=1)
    where = {"image_source": "images", "vocab_path": "vocab.json", "output": "out"}
    shard_builder.build(["posts.jsonl"], Columns(), options=options, **where, **more)


def test_older_folders_hold_hashtags_and_strange_kinds_are_refused(made):
    build()
    path = made / "out/dataset.json"
    dataset = json.loads(path.read_text())
    assert dataset.pop("label_kinds") == ["hashtags"]
    path.write_text(json.dumps(dataset))
    assert list(index.open_index("out").kinds) == ["hashtags"]
    for strange in (["synsets", "hashtags"], [], ["hashtags", "synsets"]):
        path.write_text(json.dumps({**dataset, "label_kinds": strange}))
        with pytest.raises(errors.DataError, match=r"label_kinds|synset_offsets"):
            index.open_index("out")


def test_labels_outside_the_vocabulary_are_found_in_both_kinds(made):
    build(truth="truth.jsonl")
    values = np.load("out/index/synset_values.npy")
    dataset = json.loads((made / "out/dataset.json").read_text())
    (made / "out/dataset.json").write_text(json.dumps({**dataset, "arrays": {}}))
    np.save("out/index/synset_values.npy", values + 4)
    with pytest.raises(errors.DataError, match="not among the 4 classes"):
        index.open_index("out")
