"""The two tools as users run them: files out, summaries, exit codes."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from pretrain.shards import index
from wsl_det import errors

DATA = Path(__file__).parents[5] / "shared/data/hashtag_posts.tar"


@pytest.fixture
def made(tmp_path, world, monkeypatch):
    world.write_images(tmp_path / "images")
    world.write_posts(tmp_path / "posts.jsonl")
    monkeypatch.chdir(tmp_path)
    return tmp_path


VOCAB = ["--posts", "posts.jsonl", "--kind", "in1k", "--output", "vocab.json"]
SHARDS = ["--posts", "posts.jsonl", "--images", "images", "--vocab", "vocab.json", "--output", "out"]


def test_posts_to_shards(made, tool, capsys):
    assert tool("build_vocab")(VOCAB) == 0
    text = capsys.readouterr().out
    assert "3 classes of kind in1k; 2 merge several hashtags" in text
    assert "most frequent: brown_bear 3" in text
    assert tool("build_shards")([*SHARDS, "--workers", "1", "--source", "tiny"]) == 0
    text = capsys.readouterr().out
    assert "5 images with 6 labels of 3 classes" in text and "train-tiny-5-3" in text
    assert "1 posts skipped: no hashtag of the vocabulary" in text
    assert len(index.open_index("out")) == 5


def test_extend(made, tool, world):
    assert tool("build_vocab")(VOCAB) == 0
    old = json.loads(Path("vocab.json").read_text())["classes"]
    world.write_posts(made / "posts.jsonl", {"x": ("a.jpg", "#tench #brownbear")})
    assert tool("build_vocab")([*VOCAB, "--extend", "vocab.json"]) == 0
    new = json.loads(Path("vocab.json").read_text())["classes"]
    assert [c["synsets"] for c in new[:3]] == [c["synsets"] for c in old]
    assert new[3]["name"] == "tench" and new[3]["id"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--posts", "none.jsonl"], "none.jsonl does not exist"),
        (["--posts", "empty.jsonl"], "no posts in empty.jsonl"),
        (["--size", "0"], "at least 1 class"),
        (["--extend", "posts.jsonl"], "is not whole JSON"),
        (["--min-count", "99"], "has 99 posts or more"),
    ],
)
def test_build_vocab_refuses(made, tool, capsys, arguments, message):
    (made / "empty.jsonl").touch()
    before = sorted(path.name for path in made.iterdir())
    assert errors.run(tool("build_vocab"), [*VOCAB, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in made.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--posts", "none.jsonl"], "none.jsonl does not exist"),
        (["--images", "none"], "--images none does not exist"),
        (["--images", "posts.jsonl"], "no whole, uncompressed tar"),
        (["--vocab", "none.json"], "vocabulary none.json does not exist"),
        (["--vocab", "posts.jsonl"], "is not whole JSON"),
        (["--output", "images"], "images already holds something"),
        (["--shard-mb", "0"], "--shard-mb 0"),
        (["--workers", "0"], "--workers 0"),
        (["--role", "a b"], "'a b' is part of file names"),
    ],
)
def test_build_shards_refuses(made, tool, capsys, arguments, message):
    tool("build_vocab")(VOCAB)
    before = sorted(path.name for path in made.iterdir())
    assert errors.run(tool("build_shards"), [*SHARDS, "--workers", "1", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in made.iterdir()) == before


def test_users_lists_columns_and_workers(made, tool, capsys):
    Path("rows.csv").write_text(
        "pk;file;tags\n".replace(";", ",") + "1,a.jpg,teddy|crane\n2,b.jpg,love|Brown Bear\n"
    )
    Path("exclude.txt").write_text("# not photos\n#Crane\n\n")
    Path("synonyms.txt").write_text("Teddy\tbrown_bear\nkitty = cat\n")
    words = ["--posts", "*.csv", "--id-column", "pk", "--image-column", "file", "--hashtags-column", "tags"]
    words += ["--separator", "|"]
    lists = ["--exclude", "exclude.txt", "--synonyms", "synonyms.txt", "--workers", "2"]
    assert tool("build_vocab")([*words, *lists, "--kind", "wordnet", "--output", "v.json"]) == 0
    value = json.loads(Path("v.json").read_text())
    found = {c["name"]: (c["hashtags"], c["count"]) for c in value["classes"]}
    assert found["brown_bear"] == (["brownbear", "teddy", "ursusarctos"], 2)
    assert set(found) == {"brown_bear", "love"}
    assert value["meta"]["excluded"] == ["crane"]
    out = ["--images", "images", "--vocab", "v.json", "--output", "out", "--workers", "1"]
    assert tool("build_shards")([*words, *out]) == 0
    assert "2 images with 3 labels of 2 classes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--exclude", "#cat\n***\n", "list.txt:2: '***' is no hashtag"),
        ("--synonyms", "teddy\n", "list.txt:1: 'teddy' is not two hashtags"),
        ("--exclude", "tbt\n#cat#dog\n", "list.txt:2: '#cat#dog' is 2 hashtags; write one a line"),
        ("--exclude", "tbt，selfie\n", "list.txt:1: 'tbt，selfie' is 2 hashtags; write one a line"),
        ("--synonyms", "teddy\tqqq\n", "'qqq' is no noun of WordNet"),
        ("--synonyms", None, "list list.txt does not exist"),
    ],
)
def test_bad_lists(made, tool, capsys, option, text, message):
    if text is not None:
        Path("list.txt").write_text(text)
    assert errors.run(tool("build_vocab"), [*VOCAB, option, "list.txt"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("vocab.json").exists()


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is absent")
def test_real_posts(tmp_path, tool):
    with tarfile.open(DATA) as tar:
        for name in ("posts.jsonl", "truth.jsonl"):
            tar.extract(f"hashtag_posts/{name}", tmp_path, filter="data")
    posts = str(tmp_path / "hashtag_posts/posts.jsonl")
    vocab = str(tmp_path / "vocab.json")
    assert tool("build_vocab")(["--posts", posts, "--kind", "in1k", "--output", vocab]) == 0
    out = str(tmp_path / "out")
    words = ["--posts", posts, "--images", str(DATA), "--vocab", vocab, "--output", out, "--shard-mb", "5"]
    assert tool("build_shards")([*words, "--workers", "2"]) == 0
    found = index.open_index(out)
    assert len(found) == 12_912
    lines = (tmp_path / "hashtag_posts/truth.jsonl").read_text().splitlines()
    truth = {row["id"]: row["wnid"] for row in map(json.loads, lines)}
    classes = found.vocabulary.classes
    right = [
        any(truth[found.key(i)] in classes[c].synsets for c in found.labels(i)) for i in range(len(found))
    ]
    # A tenth of the posts carry no right hashtag at all; every other one must be labelled right.
    assert sum(right) == 11_656
