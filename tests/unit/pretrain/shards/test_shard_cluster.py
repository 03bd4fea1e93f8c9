"""Shards and an index of foreign ones made on a real Dask cluster: the same bytes as made here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from dask_world import local  # noqa: F401 (a fixture)
from test_samples import write_tar

from pretrain.shards import build as shard_builder
from pretrain.shards import index
from pretrain.shards import write as shards
from pretrain.workers import cluster


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.mark.slow
def test_a_cluster_makes_the_same_shards_even_when_a_worker_dies(local, tmp_path, monkeypatch, tool, world):  # noqa: F811
    # Relative names: the workers run in another folder.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shards, "MAX_IMAGES", 10)
    Path("images").mkdir()
    for i in range(60):
        Path(f"images/{i}.jpg").write_bytes(world.jpeg(i))
    captions = {f"p{i}": (f"{i}.jpg", "#goldfish" if i % 2 else "#crane") for i in range(60)}
    world.write_posts(Path("posts.jsonl"), captions)
    Path("tars").mkdir()
    for number in range(4):
        members = [
            (f"{i}.{ending}", data)
            for i in range(number, 60, 4)
            for ending, data in (("jpg", Path(f"images/{i}.jpg").read_bytes()), ("txt", b"#crane"))
        ]
        write_tar(Path(f"tars/{number}.tar"), members)
    assert tool("build_vocab")(["--posts", "posts.jsonl", "--kind", "in1k", "--output", "vocab.json"]) == 0
    words = {
        "build_shards": ["--posts", "posts.jsonl", "--images", "images"],
        "index_shards": ["--shards", "tars/*.tar"],
    }
    used = []
    connect = cluster.connect
    monkeypatch.setattr(cluster, "connect", lambda address: used.append(address) or connect(address))
    for name, own in words.items():
        own += ["--vocab", "vocab.json", "--output", name]
        for who in (["--workers", "1"], ["--scheduler", local.address]):
            monkeypatch.setattr(sys, "argv", [f"{name}.py", *own, *who])
            assert tool(name)([*own, *who]) == 0
            Path(name).rename(f"{name}{who[0]}")
        assert content(f"{name}--workers") == content(f"{name}--scheduler")
    assert used == [local.address] * 2
    found = index.open_index("build_shards--scheduler")
    assert len(found) == 60 and len(found.shards) == 6

    def kill(items, *_):
        for number, item in enumerate(items):
            if number == 1:
                local.workers[0].kill()
                local.workers[0].wait()
            yield item

    monkeypatch.setattr(shard_builder.log, "progress", kill)
    who = ["--scheduler", local.address]
    monkeypatch.setattr(sys, "argv", ["build_shards.py", *words["build_shards"], *who])
    assert tool("build_shards")([*words["build_shards"], *who]) == 0
    assert content("build_shards") == content("build_shards--workers")
