"""What natural, square-root and uniform resampling would do to a data set, told before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretrain.stream import sampling
from pretrain.stream.sampling import Floats, SampleStream

_SHOWN_TAGS = 3  # most frequent, middle and rarest


@dataclass(frozen=True)
class Effect:
    """One epoch under one policy, as expected over the rounding of its factors."""

    policy: str
    draws: float
    largest: float  # factor of the most repeated image
    repeated: float  # share of the images whose factor is over 1
    tag_draws: Floats  # (tags,) times each tag is shown

    def share(self, tags: NDArray[np.int64]) -> float:
        """Share that ``tags`` have of all tags shown."""
        return float(self.tag_draws[tags].sum() / self.tag_draws.sum())

    @property
    def effective_tags(self) -> float:
        """Exponential of the entropy of the tags shown: as many equally frequent tags are as diverse."""
        p = self.tag_draws[self.tag_draws > 0] / self.tag_draws.sum()
        return float(np.exp(-(p * np.log(p)).sum()))


def effects(stream: SampleStream) -> list[Effect]:
    """The effect of every policy at the stream's threshold: one pass over the labels."""
    frequencies = stream.tag_counts / stream.num_images
    factors = [
        sampling.tag_factors(frequencies, policy=policy, threshold=stream.threshold)
        for policy in sampling.POLICIES
    ]
    draws, largest, repeated = np.zeros((3, len(factors)))
    tag_draws = np.zeros((len(factors), len(frequencies)))
    for training, offsets, tags in stream.chunks():
        for i, factor in enumerate(factors):
            found = sampling.image_factors(offsets, tags, factor)
            found[~training] = 0
            draws[i] += found.sum()
            largest[i] = max(largest[i], found.max(initial=0))
            repeated[i] += (found > 1).sum()
            weights = np.repeat(found, np.diff(offsets))
            tag_draws[i] += np.bincount(tags, weights, minlength=len(frequencies))
    return [
        Effect(policy, draws[i], largest[i], repeated[i] / stream.num_images, tag_draws[i])
        for i, policy in enumerate(sampling.POLICIES)
    ]


def describe(stream: SampleStream, names: Sequence[str]) -> list[str]:
    """The table as lines to read; ``names`` are the tags', the policy in use has a star."""
    found = effects(stream)
    # Stable, so equally frequent tags stay in the order of their ids.
    ranked = np.argsort(-stream.tag_counts, kind="stable")[: int((stream.tag_counts > 0).sum())]
    head, tail = ranked[: -(-len(ranked) // 10)], ranked[len(ranked) // 2 :]
    chosen = "the median frequency" if stream.threshold == 0 else "DATA.RESAMPLE_THRESHOLD"
    t = stream.threshold or float(np.median(stream.tag_counts[ranked])) / stream.num_images
    lines = [
        f"an epoch of {stream.num_images:,} images and {len(ranked):,} tags; t = {t:.3g}, {chosen}:",
        f"  {'resampling':<12}{'draws':>14}{'a image':>9}{'largest':>9}{'repeated':>10}"
        f"{'top 10% tags':>14}{'rarest half':>13}{'effective tags':>16}",
    ]
    for effect in found:
        lines.append(
            f"{'*' if effect.policy == stream.policy else ' '} {effect.policy:<12}{effect.draws:>14,.0f}"
            f"{effect.draws / stream.num_images:>9.2f}{effect.largest:>9.1f}{effect.repeated:>10.1%}"
            f"{effect.share(head):>14.1%}{effect.share(tail):>13.1%}{effect.effective_tags:>16,.1f}"
        )
    lines.append(f"  {'tag':<24}{'images':>14}" + "".join(f"{e.policy + ' draws':>16}" for e in found))
    number, middle = len(ranked), len(ranked) // 2
    places = {*range(_SHOWN_TAGS), *range(middle - 1, middle + 2), *range(number - _SHOWN_TAGS, number)}
    for tag in (int(ranked[place]) for place in sorted(places) if 0 <= place < number):
        shown = "".join(f"{effect.tag_draws[tag]:>16,.0f}" for effect in found)
        lines.append(f"  {names[tag][:23]:<24}{stream.tag_counts[tag]:>14,}{shown}")
    return lines
