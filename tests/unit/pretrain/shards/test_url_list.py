"""Lists of URLs for img2dataset."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from pretrain.posts import tags
from wsl_det import errors

POSTS = [
    {"id": "1", "image": "https://x.org/1.jpg", "caption": '#Brown_Bear, "quoted" #tbt'},
    {"id": "2", "image": "http://x.org/2.jpg", "hashtags": ["Brown Bear"]},
    {"id": "3", "image": "local.jpg", "caption": "#crane"},
    {"id": "4", "image": "HTTPS://x.org/4.jpg", "caption": "nothing"},
    {"id": "5", "caption": "#crane"},
]


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in POSTS))
    return tmp_path


def read(path):
    if path.endswith("parquet"):
        return pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    if path.endswith("jsonl"):
        return [json.loads(line) for line in Path(path).read_text().splitlines()]
    with open(path, newline="") as file:
        return list(csv.DictReader(file, delimiter="," if path.endswith("csv") else "\t"))


@pytest.mark.parametrize("ending", ["parquet", "csv", "tsv", "jsonl"])
def test_ids_and_hashtags_go_along(made, tool, capsys, ending):
    output = f"urls.{ending}"
    assert tool("write_urls")(["--posts", "posts.jsonl", "--output", output]) == 0
    found = read(output)
    assert [(row["id"], row["url"]) for row in found] == [
        (p["id"], p["image"]) for p in POSTS if p["id"] in "124"
    ]
    # What build_shards reads in the samples' .json are the tags that were posted.
    assert [tags.in_list(row["hashtags"]) for row in found] == [["Brown_Bear", "tbt"], ["Brown Bear"], []]
    text = capsys.readouterr().out
    assert "2 posts without a URL" in text and "3 URLs" in text
    assert f"--url_list {output} \\\n" in text and "--resize_mode keep_ratio" in text
    assert "--resize_only_if_bigger True" in text


def test_tags_that_hold_dividers_come_back_as_they_were(made, tool):
    tags_of = ["Washington, DC", "a；b", "100%25", "50%", "c|d e", "plain"]
    post = {"id": "1", "image": "https://x.org/1.jpg", "hashtags": "\t".join(tags_of)}
    (made / "posts.jsonl").write_text(json.dumps(post, ensure_ascii=True))
    words = ["--posts", "posts.jsonl", "--separator", "\t", "--output", "urls.jsonl"]
    assert tool("write_urls")(words) == 0
    (row,) = read("urls.jsonl")
    assert tags.in_list(row["hashtags"]) == ["Washington, DC", "a；b", "100%", "50%", "c|d e", "plain"]


def test_only_posts_of_a_vocabulary(made, tool, capsys):
    words = ["--posts", "posts.jsonl"]
    assert tool("build_vocab")([*words, "--kind", "in1k", "--output", "vocab.json"]) == 0
    assert tool("write_urls")([*words, "--vocab", "vocab.json", "--output", "urls.txt"]) == 0
    assert Path("urls.txt").read_text() == "https://x.org/1.jpg\nhttp://x.org/2.jpg\n"
    text = capsys.readouterr().out
    assert "1 posts without a hashtag of the vocabulary" in text and "loses ids and hashtags" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "urls.doc"], "expected a name that ends in .parquet"),
        (["--image-column", "link"], 'no URL is left of "link": 5 without a URL'),
        (["--posts", "none.jsonl"], "none.jsonl does not exist"),
    ],
)
def test_write_urls_refuses(made, tool, capsys, words, message):
    argv = ["--posts", "posts.jsonl", "--output", "urls.csv", *words]
    assert errors.run(tool("write_urls"), argv) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in made.iterdir()] == ["posts.jsonl"]
