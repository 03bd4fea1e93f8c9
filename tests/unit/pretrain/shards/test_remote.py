"""Shards at addresses give the photos, the batches and the index of shards on a disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import shard_folders
import stores_world

from pretrain.posts.records import Columns
from pretrain.shards import adopt, build, images, index, photo_cache, remote
from pretrain.stream import sampling
from pretrain.stream.loader import Batch, Loader, Share
from pretrain.stream.transforms import TrainCrop
from wsl_det.core import addresses, stores
from wsl_det.core.photos import BadImage
from wsl_det.errors import DataError, public

NAMES = ("crane", "daisy", "pizza")
COUNT = 20
web = pytest.mark.skipif(not stores_world.NGINX, reason="nginx is not installed")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stores_world.quick(monkeypatch, tmp_path / "cache", 5)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Posts, photos of about 100 kB, and their shards, three of them."""
    work, rng = tmp_path_factory.mktemp("work"), np.random.default_rng(0)
    (work / "images").mkdir()
    for i in range(COUNT):
        noise = rng.integers(0, 255, (300, 340, 3), np.uint8)
        (work / f"images/{i}.jpg").write_bytes(cv2.imencode(".jpg", noise, [1, 95])[1].tobytes())
    lines = [{"id": f"p{i}", "image": f"{i}.jpg", "caption": f"#{NAMES[i % 3]}"} for i in range(COUNT)]
    shard_folders.write_lines(work / "posts.jsonl", lines)
    _build(work, work / "posts.jsonl", work / "images", work / "shards")
    return work


def _build(work: Path, posts: object, photos: object, output: Any) -> None:
    vocab = shard_folders.vocabulary(work / "vocab.json", NAMES)
    options = build.Options(workers=1, shard_mb=1)
    build.build(
        [str(posts)], Columns(), image_source=photos, vocab_path=vocab, output=output, options=options
    )


@pytest.fixture(scope="module")
def server(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with stores_world.nginx(work, tmp_path_factory.mktemp("nginx")) as port:
        yield port


@pytest.fixture
def proxy(server: int) -> Iterator[stores_world.Proxy]:
    with stores_world.Proxy(server) as found:
        yield found


def _batches(posts: index.ShardIndex, start: int = 0, rank: int = 0, world: int = 1) -> list[Batch]:
    stream = sampling.SampleStream(
        label_offsets=posts.label_offsets,
        label_values=posts.label_values,
        post_hash=posts.post_hash,
        shard_starts=posts.shard_starts,
        num_tags=len(NAMES),
        seed=1,
        policy="sqrt",
        threshold=0.5,
        window=2,
    )
    loader = Loader(posts, stream, TrainCrop(32), Share(8, 4, rank, world), size=32, seed=1)
    return list(loader.batches(start, 7, "00" * 32))


def _same(found: list[Batch], wanted: list[Batch]) -> None:
    assert [b.stream for b in found] == [b.stream for b in wanted]
    assert all(
        (a.images == b.images).all() and (a.draws == b.draws).all()
        for a, b in zip(found, wanted, strict=True)
    )


@web
def test_batches_over_a_bad_network_are_those_of_the_disk(work: Path, proxy: stores_world.Proxy) -> None:
    disk, far = index.open_index(work / "shards"), index.open_index(f"{proxy.url}/shards")
    assert far.sha256 == disk.sha256 and len(disk.shards) == 3
    proxy.failing = 0.2
    _same(_batches(far), _batches(disk))
    _same(_batches(far, start=3, rank=1, world=2), _batches(disk, start=3, rank=1, world=2))


@web
def test_neighbours_are_one_request_and_nothing_is_asked_for_twice(
    work: Path, proxy: stores_world.Proxy
) -> None:
    far = index.open_index(f"{proxy.url}/shards")
    del proxy.asked[:]
    _batches(far)
    tars = [span for path, span in proxy.asked if path.endswith(".tar")]
    assert 3 <= len(tars) < 10
    another = index.open_index(f"{proxy.url}/shards")
    del proxy.asked[:]
    _batches(another)
    assert not proxy.asked


@web
@pytest.mark.parametrize("what", ["shifted", "whole", "empty"])
def test_a_photo_of_another_sample_is_never_given(work: Path, proxy: stores_world.Proxy, what: str) -> None:
    disk, far = index.open_index(work / "shards"), index.open_index(f"{proxy.url}/shards")
    proxy.rule = lambda path, span, number: what if number % 2 and path.endswith(".tar") else None
    assert all(far.read(i) == disk.read(i) for i in range(COUNT))
    proxy.rule = lambda path, span, number: what if path.endswith("1.tar") else None
    shutil.rmtree(addresses.cache() / "photos")
    far = index.open_index(f"{proxy.url}/shards")
    bad = int(far.shard_starts[1])
    with pytest.raises(BadImage):
        far.read(bad)
    assert far.read(0) == disk.read(0)


@web
def test_shards_that_are_not_those_of_the_index(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "shards", tmp_path / "www" / "shards")
    tar = next((tmp_path / "www" / "shards").glob("*-000001.tar"))
    with stores_world.nginx(tmp_path / "www", tmp_path / "nginx") as port:
        url = f"http://127.0.0.1:{port}/shards"
        far = index.open_index(url)
        tar.write_bytes(tar.read_bytes() + bytes(512))
        with pytest.raises(DataError, match="it was changed"):
            far.read(int(far.shard_starts[1]))
        tar.unlink()
        with pytest.raises(DataError, match="does not exist"):
            index.open_index(url).read(int(far.shard_starts[1]))
        (tmp_path / "www/shards/dataset.json").unlink()
        with pytest.raises(DataError, match="does not exist"):
            index.open_index(url)


@web
def test_an_index_of_tars_that_stay_where_they_are(
    work: Path, proxy: stores_world.Proxy, tmp_path: Path
) -> None:
    options = adopt.Options(workers=1)
    here, there = tmp_path / "here", tmp_path / "there"
    tars = sorted((work / "shards").glob("*.tar"))
    adopt.build(tars, Columns(), vocab_path=work / "vocab.json", output=here, options=options)
    urls = [f"{proxy.url.replace('//', '//me:geheim@')}/shards/{tar.name}" for tar in tars]
    adopt.build(urls, Columns(), vocab_path=work / "vocab.json", output=there, options=options)
    disk, far = index.open_index(here), index.open_index(there)
    assert far.sha256 == disk.sha256 and all(far.read(i) == disk.read(i) for i in range(COUNT))
    assert "geheim" not in (there / "dataset.json").read_text()
    _same(_batches(far), _batches(disk))
    plain = adopt.Options(workers=1, decode=False)
    del proxy.asked[:]
    adopt.build(urls, Columns(), vocab_path=work / "vocab.json", output=tmp_path / "headers", options=plain)
    read = sum(1 - eval(span.removeprefix("bytes=")) for _, span in proxy.asked if span)
    assert read < 0.5 * sum(tar.stat().st_size for tar in tars)


def test_shards_are_built_at_an_address_from_addresses(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = f"memory://{tmp_path.name}"
    for path in ("posts.jsonl", *(f"images/{i}.jpg" for i in range(COUNT))):
        stores.put(work / path, f"{root}/{path}")
    plain, count = stores.put, 0

    def failing(path: Path, address: str) -> stores.Info:
        nonlocal count
        count += address.endswith(".tar")
        if count == 2:
            raise KeyboardInterrupt
        return plain(path, address)

    monkeypatch.setattr(stores, "put", failing)
    with pytest.raises(KeyboardInterrupt):
        _build(work, f"{root}/posts.jsonl", f"{root}/images", f"{root}/shards")
    assert not stores.exists(f"{root}/shards/dataset.json")
    _build(work, f"{root}/posts.jsonl", f"{root}/images", f"{root}/shards")
    assert count == 4  # the first tar was not put again
    far, disk = index.open_index(f"{root}/shards"), index.open_index(work / "shards")
    assert far.sha256 == disk.sha256 and far.read(5) == disk.read(5)
    assert not [p for p in (addresses.cache() / "by_address/written").rglob("*") if p.is_file()]
    assert set(stores.listed(f"{root}/shards")) == {
        p.relative_to(work / "shards").as_posix() for p in (work / "shards").rglob("*") if p.is_file()
    }
    made_from = json.dumps(far.dataset["made_from"])
    assert f"{root}/posts.jsonl" in made_from
    with pytest.raises(DataError, match="already holds something"):
        _build(work, f"{root}/posts.jsonl", f"{root}/images", f"{root}/shards")


def test_a_name_that_leaves_the_store_is_refused(work: Path, tmp_path: Path) -> None:
    stores.put(work / "images/0.jpg", f"memory://{tmp_path.name}/images/0.jpg")
    source = images.open_source(f"memory://{tmp_path.name}/images")
    assert source.locate("0.jpg").size == (work / "images/0.jpg").stat().st_size
    for name in ("../0.jpg", "1.jpg", "/0.jpg", "http://x/0.jpg"):
        with pytest.raises(BadImage):
            source.locate(name)


def test_a_photo_that_the_store_refuses_is_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    source, place = (
        images.open_source("https://host/images"),
        images.Located("https://host/images/0.jpg", 0, 9),
    )
    for error in (stores.Gone("404"), stores.Refused("403")):

        def refuse(*asked: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(stores, "info", refuse)
        monkeypatch.setattr(stores, "read", refuse)
        for ask in (lambda: source.locate("0.jpg"), place.read):
            with pytest.raises(BadImage):
                ask()


def test_the_cache_keeps_its_limit_whoever_dies(tmp_path: Path) -> None:
    cache = photo_cache.PhotoCache(tmp_path, 1_000_000)
    for i in range(60):
        cache.put([(f"a/{i}", bytes([i]) * 50_000)])
        assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) <= 1_000_000
    assert cache.get("a/59", 50_000) == bytes([59]) * 50_000 and cache.get("a/0", 50_000) is None
    assert cache.get("a/59", 49_999) is None
    (tmp_path / ".total").write_bytes(b"999999")  # one died between counting and writing
    (tmp_path / ".1.2.3").write_bytes(bytes(100))
    cache.put([("a/60", bytes(50_000))])
    assert cache.get("a/60", 50_000) is not None
    smaller = photo_cache.PhotoCache(tmp_path, 200_000)
    assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) <= 200_000
    smaller.put([("b", bytes(100_000))])  # too large to be worth it
    assert not smaller.has("b")


def test_requests_join_neighbours() -> None:
    places = remote.Places(
        np.array([0, 0, 0, 1], np.int32), np.array([512, 10_000, 900_000, 512]), np.array([1000, 900, 50, 10])
    )
    spans = places.spans(np.arange(4))
    assert [(s.shard, s.start, s.stop, s.images) for s in spans] == [
        (0, 0, 10_900, [0, 1]),
        (0, 899_488, 900_050, [2]),
        (1, 0, 522, [3]),
    ]


def test_messages_bear_the_address(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"schema": 1}')
    stores.put(tmp_path / "dataset.json", f"memory://{tmp_path.name}/shards/dataset.json")
    with pytest.raises(DataError) as failed:
        index.open_index(f"memory://{tmp_path.name}/shards")
    assert public(str(failed.value)).startswith(f"memory://{tmp_path.name}/shards/dataset.json lacks")


def test_the_plan_counts_what_is_asked_of_the_store(work: Path, tmp_path: Path) -> None:
    addresses.put(work / "shards", f"memory://{tmp_path.name}/shards")
    far, disk = index.open_index(f"memory://{tmp_path.name}/shards"), index.open_index(work / "shards")
    assert disk.requests(np.arange(COUNT)) is None
    whole, every_fourth = far.requests(np.arange(COUNT)), far.requests(np.arange(0, COUNT, 4))
    assert whole is not None and every_fourth is not None
    assert whole[0] == 3 and 1 < whole[1] / whole[2] < 1.05
    assert (
        every_fourth[0] == 5 and every_fourth[1] / every_fourth[2] < 1.05
    )  # photos of 130 kB: nothing is joined


def test_shards_in_s3(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    with stores_world.s3(monkeypatch.setenv):
        stores._system.cache_clear()
        _build(work, work / "posts.jsonl", work / "images", "s3://bucket/shards")
        far, disk = index.open_index("s3://bucket/shards"), index.open_index(work / "shards")
        assert far.sha256 == disk.sha256
        _same(_batches(far), _batches(disk))
        options = adopt.Options(workers=1)
        tars = ["s3://bucket/shards/*.tar"]
        adopt.build(
            tars, Columns(), vocab_path=work / "vocab.json", output="s3://bucket/index", options=options
        )
        adopted = index.open_index("s3://bucket/index")
        assert adopted.dataset["shards"][0]["file"] == "../shards/train-000000.tar"
        assert adopted.dataset["shards"][0]["etag"] and adopted.read(3) == disk.read(3)
        stores.put(work / "images/0.jpg", "s3://bucket/shards/train-000000.tar")
        shutil.rmtree(addresses.cache() / "photos")
        with pytest.raises(DataError, match="it was changed"):
            index.open_index("s3://bucket/index").read(5)
    stores._system.cache_clear()
