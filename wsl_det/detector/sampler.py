"""The order in which a run sees its images: a pure function of the seed and the position in the stream.

Semantics are Detectron2's (data/samplers): an endless concatenation of shuffled epochs, rank r
taking every world-size-th index, batches of images that lie the same way. Every epoch has its own
generator, so that a resumed run finds its place without touching an image.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from wsl_det.core import seed as seeds

Draw = tuple[int, int]
"""(position in the global stream, index of the image)."""


def training_stream(size: int, seed: int, repeats: Tensor | None = None) -> Iterator[Draw]:
    """Endless shuffled epochs of ``size`` images.

    ``repeats`` (size,) float32 are repeat factors: an image is seen that many times an epoch, its
    fraction rounded up with the probability it stands for (Gupta et al. 2019, LVIS, appendix B.2).
    """
    position = 0
    epoch = 0
    while True:
        for index in one_epoch(size, seeds.generator(seed, "order", epoch), repeats).tolist():
            yield position, index
            position += 1
        epoch += 1


def one_epoch(size: int, rng: torch.Generator, repeats: Tensor | None = None) -> Tensor:
    """(N,) int64 images of an epoch in the order of ``rng``: what Detectron2's samplers draw from it next."""
    indices = torch.arange(size)
    if repeats is not None:
        whole = torch.trunc(repeats)
        extra = torch.rand(size, generator=rng) < repeats - whole
        indices = torch.repeat_interleave(indices, (whole + extra).long())
    return indices[torch.randperm(len(indices), generator=rng)]


def repeat_factors(classes: Sequence[Iterable[int]], threshold: float, *, square_root: bool = True) -> Tensor:
    """(N,) float32: how often each image is seen in an epoch, by its rarest class.

    ``classes`` holds the classes of each image's objects. A class that a fraction f of the images
    shows asks for max(1, sqrt(threshold / f)), without the root if so told; an image takes the
    largest demand of its classes, an empty one takes 1.
    """
    present = [set(c) for c in classes]
    images = Counter(k for c in present for k in c)
    demand = {}
    for k, count in images.items():
        ratio = threshold / (count / len(present))
        demand[k] = max(1.0, math.sqrt(ratio) if square_root else ratio)
    return torch.tensor([max((demand[k] for k in c), default=1.0) for c in present], dtype=torch.float32)


def of_rank(stream: Iterable[Draw], rank: int, world_size: int) -> Iterator[Draw]:
    """Every ``world_size``-th draw, beginning with the ``rank``-th."""
    return islice(stream, rank, None, world_size)


def grouped_batches(stream: Iterable[Draw], landscape: Sequence[bool], size: int) -> Iterator[list[Draw]]:
    """Batches of ``size`` draws that are all wider than high, or all not; the first full one goes first."""
    waiting: tuple[list[Draw], list[Draw]] = ([], [])
    for draw in stream:
        bucket = waiting[0 if landscape[draw[1]] else 1]
        bucket.append(draw)
        if len(bucket) == size:
            yield list(bucket)
            bucket.clear()


def plain_batches(stream: Iterable[Draw], size: int) -> Iterator[list[Draw]]:
    """Batches of ``size`` draws in the order of the stream."""
    source = iter(stream)
    while batch := list(islice(source, size)):
        yield batch


def evaluation_shard(size: int, rank: int, world_size: int) -> range:
    """The images of one rank in evaluation: contiguous, in order, none twice, sizes within 1."""
    share, left = divmod(size, world_size)
    begin = rank * share + min(rank, left)
    return range(begin, begin + share + (rank < left))
