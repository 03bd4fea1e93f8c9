"""Recall of held-out posts' tags: what the classifier has learned, beside what a constant guess scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pretrain.stream.loader import Posts, Tags, normalize, pack_tags
from pretrain.stream.sampling import Labels, rows_of
from pretrain.stream.transforms import TestCrop
from wsl_det.core import dist
from wsl_det.core.photos import BadImage

ACCURACY = (1, 5)  # the ranks of true classes that are measured
T = TypeVar("T")


def recall(top: Tensor, tags: Tags, ranks: Sequence[int]) -> dict[str, Tensor]:
    """Sums over the images of the two recalls at each k of ``ranks``, by name.

    ``top`` (N, at least the largest k) are class ids, best first. "recall_any@k" counts an image
    when any of its tags is among its k best classes; "recall_set@k" counts the share of its tags
    that are, so its best value at k = 1 is 1/number of tags. Divide by the number of images.
    """
    real = torch.arange(tags.ids.shape[1], device=top.device) < tags.counts[:, None]
    hit = (top[:, :, None] == tags.ids[:, None, :]) & real[:, None, :]  # (N, k, K)
    sums = {}
    for k in ranks:
        found = hit[:, :k].any(dim=1).sum(dim=1)
        sums[f"recall_any@{k}"] = (found > 0).sum().double()
        sums[f"recall_set@{k}"] = (found / tags.counts.clamp(min=1)).double().sum()
    return sums


def constant_guess(
    labels: Sequence[NDArray[np.int32]], tag_counts: NDArray[np.int64], ranks: Sequence[int]
) -> dict[str, float]:
    """Recall, in percent, of answering every image with the most frequent training tags: chance."""
    top = torch.from_numpy(tag_counts).topk(min(max(ranks), len(tag_counts))).indices
    sums = recall(top.expand(len(labels), -1), pack_tags(labels), ranks)
    return {name: 100 * float(total) / max(len(labels), 1) for name, total in sums.items()}


def accuracy(found: Mapping[str, T]) -> dict[str, T]:
    """Recall of true classes by its own names: ``top1`` and ``top5``."""
    return {f"top{k}": found[f"recall_any@{k}"] for k in ACCURACY}


def measure(
    model: nn.Module,
    posts: Posts,
    images: NDArray[np.int64],
    crop: TestCrop,
    *,
    pixel_mean: Sequence[float],
    pixel_std: Sequence[float],
    ranks: Sequence[int] = (1, 5, 10),
    batch: int = 64,
    num_threads: int = 2,
    kinds: Mapping[str, Labels] | None = None,
) -> dict[str, float]:
    """Recall at ``ranks`` over ``images``, in percent, with the number of images that decoded.

    ``kinds`` are the images' labels where they are not hashtags alone. Of "synsets", true classes, ``top1``
    and ``top5`` are measured: the share of images with one as the best answer, or among five.

    Every process takes its share of the images; all of them must call. Nothing is padded, so no
    image counts twice.
    """
    device = next(model.parameters()).device
    model.eval()
    kinds = kinds or {"hashtags": (posts.label_offsets, posts.label_values)}
    deepest = max(*ranks, *ACCURACY)

    def share() -> tuple[int, dict[str, float]]:
        own, sums, count = images[dist.rank() :: dist.world_size()], dict[str, float](), 0
        for pixels, shown in _batches(posts, own, crop, batch, num_threads):
            with torch.inference_mode():
                inputs = normalize(pixels.to(device), pixel_mean, pixel_std)
                logits = model(inputs)
                top = logits.topk(min(deepest, logits.shape[1]), dim=1).indices.cpu()
            count += len(shown)
            for kind, labels in kinds.items():
                tags = pack_tags(rows_of(labels, shown))
                found = recall(top, tags, ranks if kind == "hashtags" else ACCURACY)
                for name, total in (found if kind == "hashtags" else accuracy(found)).items():
                    sums[name] = sums.get(name, 0.0) + float(total)
        return count, sums

    return _means(dist.everywhere(share))


def _means(parts: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, float]:
    count = sum(part[0] for part in parts)
    names = next((part[1].keys() for part in parts if part[0]), ())
    means = {name: 100 * sum(part[1].get(name, 0.0) for part in parts) / count for name in names}
    return {**means, "heldout_images": float(count)}


def _batches(
    posts: Posts, images: NDArray[np.int64], crop: TestCrop, batch: int, num_threads: int
) -> Iterator[tuple[Tensor, list[int]]]:
    def decoded(image: int) -> NDArray[np.uint8] | None:
        try:
            return crop(posts.read(image), ())
        except BadImage:
            return None

    order = (images[first : first + batch] for first in range(0, len(images), batch))
    with posts.ahead(order), ThreadPoolExecutor(num_threads, thread_name_prefix="decode") as pool:
        for first in range(0, len(images), batch):
            part = [int(i) for i in images[first : first + batch]]
            whole = [
                (i, pixels)
                for i, pixels in zip(part, pool.map(decoded, part), strict=True)
                if pixels is not None
            ]
            if whole:
                yield torch.from_numpy(np.stack([pixels for _, pixels in whole])), [i for i, _ in whole]
