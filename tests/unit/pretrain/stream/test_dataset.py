"""Batches: the same whatever the processes, threads and starting point; bad images replaced and counted."""

from __future__ import annotations

from contextlib import nullcontext

import cv2
import numpy as np
import pytest
import torch

from pretrain.stream import chance, sampling
from pretrain.stream import loader as dataset
from pretrain.stream.loader import Batch, Loader, Share
from pretrain.stream.transforms import TrainCrop
from wsl_det.core.budget import Budget
from wsl_det.errors import ConfigError, DataError

SIZE, BATCH, GROUP = 16, 12, 3
START = dataset.start_hash(dataset="memory", seed=1)


class MemoryPosts:
    """Photos of one colour each, with tags; those in ``broken`` hold no image."""

    def __init__(self, number: int = 30, broken: tuple[int, ...] = ()) -> None:
        rows = [[i % 4, 4 + i % 3] if i % 2 else [i % 4] for i in range(number)]
        self.label_offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
        self.label_values = np.array([t for r in rows for t in r], np.int32)
        self.post_hash = chance.splitmix64(2, np.arange(number, dtype=np.uint64))
        self.broken = broken
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.label_offsets) - 1

    def key(self, image: int) -> str:
        return f"photo{image:03d}"

    def ahead(self, order: object) -> nullcontext[None]:
        return nullcontext()

    def read(self, image: int) -> bytes:
        self.reads.append(image)
        if image in self.broken:
            return b"no image"
        ramp = np.linspace(0, 60, 24 * 32 * 3).reshape(24, 32, 3) + 6 * image
        return cv2.imencode(".jpg", ramp.astype(np.uint8))[1].tobytes()


def loader(posts: MemoryPosts, rank: int = 0, world: int = 1, **options: object) -> Loader:
    stream = sampling.SampleStream(
        label_offsets=posts.label_offsets,
        label_values=posts.label_values,
        post_hash=posts.post_hash,
        shard_starts=np.array([0, 8, 20, len(posts)]),
        num_tags=7,
        seed=1,
        policy="sqrt",
        threshold=0.5,
        window=2,
    )
    share = Share(BATCH, GROUP, rank, world)
    settings: dict = {"size": SIZE, "seed": 1, "num_threads": 2, **options}
    return Loader(posts, stream, TrainCrop(SIZE), share, **settings)


def run(
    posts: MemoryPosts, start: int = 0, stop: int = 6, name: str = START, **options: object
) -> list[Batch]:
    return list(loader(posts, **options).batches(start, stop, name))  # type: ignore[arg-type]


def same(a: Batch, b: Batch) -> bool:
    tensors = zip((a.images, *a.tags), (b.images, *b.tags), strict=True)
    plain = (a.step, a.stream, a.epoch, a.draws.tolist()) == (b.step, b.stream, b.epoch, b.draws.tolist())
    return plain and all(torch.equal(x, y) for x, y in tensors)


def test_batches_do_not_depend_on_threads_or_reading_ahead() -> None:
    want = run(MemoryPosts())
    for options in ({"num_threads": 1, "prefetch": 0}, {"num_threads": 5, "prefetch": 4}):
        assert all(map(same, run(MemoryPosts(), **options), want))


def test_starting_in_the_middle_gives_the_rest_of_the_stream() -> None:
    whole = run(MemoryPosts())
    rest = run(MemoryPosts(), start=4, name=whole[3].stream)
    assert len(rest) == 2 and all(map(same, rest, whole[4:]))


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_same_global_batches_and_groups(world: int) -> None:
    whole = run(MemoryPosts())
    parts = [run(MemoryPosts(), rank=rank, world=world) for rank in range(world)]
    for step, batch in enumerate(whole):
        shares = [part[step] for part in parts]
        assert torch.equal(torch.cat([s.images for s in shares]), batch.images)
        assert np.array_equal(np.concatenate([s.draws for s in shares]), batch.draws)
        assert {s.stream for s in shares} == {batch.stream}
        assert all(len(s.draws) % GROUP == 0 for s in shares)


def test_processes_read_only_their_own_images() -> None:
    posts = MemoryPosts()
    batches = run(posts, rank=1, world=2)
    assert sorted(posts.reads) == sorted(int(i) for b in batches for i in b.draws)


def test_world_size_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="nearest legal numbers of processes: 2, 4"):
        run(MemoryPosts(), world=3)


def test_labels_belong_to_the_images() -> None:
    for batch in run(MemoryPosts()):
        for image, ids, count in zip(batch.draws, *batch.tags, strict=True):
            want = [image % 4, 4 + image % 3] if image % 2 else [image % 4]
            assert sorted(ids[:count].tolist()) == sorted(want)


def test_stream_hash_sees_every_draw_and_its_order() -> None:
    names = [b.stream for b in run(MemoryPosts())]
    assert len(set(names)) == 6
    draws = np.array([3, 1, 2])
    assert dataset.extend_hash(START, draws) != dataset.extend_hash(START, draws[::-1].copy())
    assert dataset.start_hash(seed=1, batch=2) != dataset.start_hash(seed=2, batch=1)


def test_epoch_counts_up_to_whole_numbers() -> None:
    epochs = [b.epoch for b in run(MemoryPosts())]
    assert 0 < epochs[0] < 1 < epochs[-1] and epochs == sorted(epochs)


def test_repeated_draws_are_cropped_anew() -> None:
    batches = run(MemoryPosts(), stop=12)
    shown: dict[int, list[torch.Tensor]] = {}
    for batch in batches:
        for image, pixels in zip(batch.draws.tolist(), batch.images, strict=True):
            shown.setdefault(image, []).append(pixels)
    repeated = [views for views in shown.values() if len(views) > 1]
    assert repeated and all(not torch.equal(views[0], views[1]) for views in repeated)


def test_broken_images_are_replaced_inside_their_group() -> None:
    sound = run(MemoryPosts())
    broken = (int(sound[0].draws[4]),)
    spoilt = run(MemoryPosts(broken=broken))
    for want, found in zip(sound, spoilt, strict=True):
        assert want.stream == found.stream  # the plan is the same, whatever decodes
        for first in range(0, BATCH, GROUP):
            rows = slice(first, first + GROUP)
            assert not set(found.draws[rows]) & set(broken)
            for row in range(first, first + GROUP):
                if want.draws[row] not in broken:
                    assert torch.equal(found.images[row], want.images[row])
                else:
                    assert found.draws[row] in want.draws[rows]
    assert not torch.equal(spoilt[0].images[4], sound[0].images[4])


def test_a_group_without_any_image_stops_the_run_and_names_one() -> None:
    with pytest.raises(
        DataError, match=r"no image of a BN group of 3 decodes at step 0.*photo\d+: not an image"
    ):
        run(MemoryPosts(broken=tuple(range(30))))


def test_skip_budget() -> None:
    budget = Budget(0.01, "DATA.SKIP_BUDGET")
    budget.count([("a", "truncated JPEG")] * 50, 999)  # too early to judge
    assert budget.share == pytest.approx(50 / 999)
    with pytest.raises(
        DataError, match=r"(?s)51 photos of 1099 cannot be used.*b: not an.*SKIP_BUDGET 0\.01 allows \(10\)"
    ):
        budget.count([("b", "not an image")], 100)
    fine = Budget(0.01, "DATA.SKIP_BUDGET")
    fine.count([("a", "truncated JPEG")] * 20, 2000)


def test_stopping_early_leaves_no_thread_behind() -> None:
    import threading

    before = threading.active_count()
    batches = loader(MemoryPosts(), prefetch=3).batches(0, 100, START)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_pieces_of_a_batch() -> None:
    batch = run(MemoryPosts(), stop=1)[0]
    pieces = batch.pieces(4)
    assert [len(p.draws) for p in pieces] == [3, 3, 3, 3]
    assert torch.equal(torch.cat([p.images for p in pieces]), batch.images)
    assert torch.equal(torch.cat([p.tags.ids for p in pieces]), batch.tags.ids)


def test_normalize_is_on_the_255_scale() -> None:
    pixels = torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)
    found = dataset.normalize(pixels, (10.0, 20.0, 30.0), (1.0, 2.0, 3.0))
    assert found.shape == (1, 3, 1, 1)
    assert found.flatten().tolist() == [-10.0, 54.0, 75.0]
