"""Where hashtags pay: gains of classes against how often pretraining saw their hashtags, the rest held equal.

The response is a class's difference in AP@.1, which is defined at 0, too; recognition is a second reading
over the classes that have it. Frequency in training and test, size of the objects and the baseline's own AP
go with hashtag counts and with gains, so they are taken away first (``partial`` says how). Classes count by
their test images. Intervals: Student's t on the spread over resamples of classes and images at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from wsl_det.coco.ground_truth import GroundTruth
from wsl_det.core import seed as seeds
from wsl_det.core.words import equals, signed, span
from wsl_det.errors import DataError
from wsl_det.gain import measures, partial
from wsl_det.gain.class_gains import ClassGains, Halved, measure
from wsl_det.gain.comparison import Options
from wsl_det.gain.estimates import number, t_cdf, t_quantile
from wsl_det.gain.side import Side

MOST_RESAMPLES = 400
FEWEST_LEFT = 3
"""Degrees of freedom under which nothing is said."""
FEWEST_RESAMPLES = 20
"""Resamples under which their spread is a matter of chance."""
_AT_84, _AT_16 = 0.8413, 0.1587


class _Row(msgspec.Struct):
    """What is read of a class in the table of ``pretrain.shards.detection_classes``."""

    name: str
    category_id: int
    synsets: list[str]
    hashtags: float
    covered: bool
    should_gain: bool | None = None


class _Table(msgspec.Struct):
    vocabulary: str
    counted: str
    classes: list[_Row]
    said_in: dict[str, str] | None = None


@dataclass(frozen=True)
class Hashtags:
    """What pretraining saw of the K classes of a test set, and what detection data hold of them.

    counts: (K,) float, nan where a class has no synset. covered: (K,) bool. said: (K,) 1, 0 or nan, whether
    a class was expected to gain. training: (K,) objects or images in training (``unit`` says which), or None
    where not known. size: (K,) median square root of the objects' areas in pixels. said_in: the file in which
    it stood beforehand which classes should gain, or None.
    """

    counts: np.ndarray
    covered: np.ndarray
    said: np.ndarray
    training: np.ndarray | None
    unit: str
    size: np.ndarray
    vocabulary: str
    counted: str
    said_in: dict[str, str] | None = None


def hashtags(table: Mapping[str, Any], truth: GroundTruth, training: Sequence[int] | None) -> Hashtags:
    """The table joined to the categories of ``truth`` by name, in their order.

    training: K objects of each class in training; without them LVIS's own count of training images.
    Raises DataError for a table that is none, or of other classes, or not clear which of one name is which.
    """
    try:
        read = msgspec.convert(dict(table), _Table)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise DataError(f"the table of hashtags by class is none that expect_gain wrote ({error})") from None
    # Rows of the same annotations go by id, since several categories may have one name.
    named = {(row.category_id, row.name): row for row in read.classes}
    wanted = list(zip(truth.category_ids.tolist(), truth.category_names, strict=True))
    if not all(key in named for key in wanted):
        named = {(0, row.name.lower()): row for row in read.classes}
        wanted = [(0, name.lower()) for name in truth.category_names]
    absent = [name for key, name in zip(wanted, truth.category_names, strict=True) if key not in named]
    twice = len(named) < len(read.classes)
    if absent or twice or not all(0 <= row.hashtags < math.inf for row in read.classes):
        why = "has a name that stands twice" if twice else "has a count of hashtags that is none"
        why = f"has no class {absent[0]!r:.80}" if absent else why
        raise DataError(
            f"the table of hashtags by class {why} ({len(absent)} of {len(truth.category_names)} classes of "
            f"{truth.source} are not in it); make it with expect_gain --gt and the same annotations"
        )
    mine = [named[key] for key in wanted]
    trained, unit = None if training is None else np.array(training), "training objects"
    known = truth.category_image_count
    if trained is None and known is not None and (known >= 0).all():
        trained, unit = known, "training images"
    counts_there = truth.object_counts
    roots = np.sqrt(truth.object_area[counts_there])
    sizes = np.full(len(mine), np.nan)
    classes = truth.object_class[counts_there]
    for k in np.unique(classes):
        sizes[k] = np.median(roots[classes == k])
    return Hashtags(
        counts=np.array([row.hashtags if row.synsets else np.nan for row in mine]),
        covered=np.array([row.covered for row in mine], dtype=bool),
        said=np.array([np.nan if row.should_gain is None else row.should_gain for row in mine], dtype=float),
        training=trained,
        unit=unit,
        size=sizes,
        vocabulary=read.vocabulary,
        counted=read.counted,
        said_in=read.said_in,
    )


def record(
    tags: Hashtags, truth: GroundTruth, sides: tuple[Side, Side], options: Options, track: measures.Progress
) -> dict[str, Any]:  # fmt: skip
    """What gain.json holds under "hashtags" of an IoU type."""
    halved = measure(*sides, min(options.bootstrap, MOST_RESAMPLES), options.seed, track)
    return of(tags, halved, truth, options.seed)


def of(tags: Hashtags, halved: Halved, truth: GroundTruth, seed: int) -> dict[str, Any]:
    """The same of gains that are measured already."""
    images = truth.images_of_classes()
    rows = _by_class(tags, halved.whole, images, truth)
    joined = _Joined.of(tags, halved, images, seed)
    logs = np.log10(1 + tags.counts)
    found = {
        "vocabulary": tags.vocabulary,
        "counted": tags.counted,
        "covariates": joined.named,
        "classes": {
            "all": len(rows),
            "with_objects": int((images > 0).sum()),
            "mapped": int(((images > 0) & ~np.isnan(tags.counts)).sum()),
            "used": int(joined.used.sum()),
        },
        "gain": joined.correlation(logs, "gain"),
        "recognition": joined.correlation(logs, "recognition"),
        "covered": joined.groups(tags.covered.astype(float)),
        "by_class": rows,
    }
    if tags.said_in is not None:
        found["expected"] = {"said_in": tags.said_in} | joined.groups(tags.said)
    return found | {"sentence": sentence(found)}


def _by_class(
    tags: Hashtags, whole: ClassGains, images: np.ndarray, truth: GroundTruth
) -> list[dict[str, Any]]:
    columns = {"hashtags": tags.counts, "size": tags.size, "baseline": whole.base[:, 0],
               "gain": whole.gain[:, 0], "recognition": whole.recognition[:, 0]}  # fmt: skip
    return [
        {"name": name, "category_id": int(truth.category_ids[k]), "covered": bool(tags.covered[k])}
        | {"images": int(images[k])}
        | {tags.unit.replace(" ", "_"): None if tags.training is None else int(tags.training[k])}
        | {key: number(float(column[k])) for key, column in columns.items()}
        for k, name in enumerate(truth.class_names)
    ]


@dataclass(frozen=True)
class _Joined:
    """Everything that the statistics are taken of: K classes, halves, resampled class weights (K, B)."""

    halved: Halved
    used: np.ndarray
    weights: np.ndarray
    drawn: np.ndarray
    known: np.ndarray
    named: list[str]

    @classmethod
    def of(cls, tags: Hashtags, halved: Halved, images: np.ndarray, seed: int) -> _Joined:
        both_halves = ~np.isnan(halved.splits.gain).all(axis=1)
        used = ~np.isnan(tags.counts) & both_halves & (images > 1)
        fixed = {"test images": images.astype(float), "median size": tags.size}
        if tags.training is not None:
            fixed = {tags.unit: tags.training.astype(float)} | fixed
        known = np.zeros((len(images), 1))
        if used.any():
            shown = partial.design(np.column_stack([column[used] for column in fixed.values()]))
            known = np.zeros((len(images), shown.shape[1]))
            known[used] = shown
        rng = seeds.numpy_generator("bootstrap of classes", seed, len(images))
        number_of = int(used.sum())
        drawn = np.zeros((len(images), halved.resamples.gain.shape[1] // 2))
        if number_of:
            drawn[used] = rng.multinomial(number_of, np.full(number_of, 1 / number_of), drawn.shape[1]).T
        return cls(halved, used, np.where(used, images, 0.0), drawn, known, [*fixed, "baseline AP@.1"])

    def df(self, weights: np.ndarray) -> float:
        """Degrees of freedom: what so unequal classes are worth, less what the covariates take."""
        total = float((weights**2).sum())
        return (float(weights.sum()) ** 2 / total if total else 0.0) - self.known.shape[1] - 3

    def correlation(self, x: np.ndarray, response: str) -> dict[str, Any]:
        """Partial rank correlation of ``x`` and a response over the classes, and the slope on x itself."""
        there = ~np.isnan(getattr(self.halved.splits, response)).all(axis=1)
        weights = np.where(there, self.weights, 0.0)
        classes = weights > 0
        said = {"classes": int(classes.sum()), "lost": int((self.used & ~classes).sum())}
        df = self.df(weights)
        nothing = said | {"correlation": None, "interval": [None, None], "p": None, "df": None}
        nothing |= {"slope": None, "slope_interval": [None, None]}
        reason = f"{said['classes']} classes cannot show a link: "
        if df < FEWEST_LEFT or len(np.unique(x[classes])) < 2:
            why = "all their hashtags are equally many" if df >= FEWEST_LEFT else "they are too few"
            return nothing | {"reason": reason + why}
        if self.drawn.shape[1] < FEWEST_RESAMPLES:
            return nothing | {"reason": f"that takes --bootstrap {FEWEST_RESAMPLES} or more"}
        x = np.where(classes, x, 0.0)
        ranked = np.where(classes, partial.ranks(np.where(classes, x, np.nan)), 0.0)

        def statistic(base: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[float, float]:
            r, _ = partial.partial(partial.moments(ranked, self.known, base, _ranked(y, classes), w))
            _, slope = partial.partial(partial.moments(x, self.known, base, y, w))
            return math.atanh(r), slope

        estimated = self._estimate(statistic, response, weights)
        if estimated is None:
            return nothing | {"reason": f"{reason}in halves of the images there is not enough to compare"}
        (z, slope), errors = estimated
        reach = t_quantile(0.975, df) * errors
        return said | {
            "correlation": math.tanh(z),
            "interval": [math.tanh(z - reach[0]), math.tanh(z + reach[0])],
            "p": 2 * t_cdf(-abs(z) / errors[0], df) if errors[0] > 0 else None,
            "slope": float(slope),
            "slope_interval": _around(slope, reach[1]),
            "df": df,
        }

    def groups(self, named: np.ndarray) -> dict[str, Any]:
        """Two groups of classes, where ``named`` is 1 and 0: their mean gains, also with all else equal."""
        weights = np.where(np.isnan(named), 0.0, self.weights)
        inside, df = np.nan_to_num(named), self.df(weights)
        gain = self.halved.whole.gain[:, 0]
        parts = [(inside == flag) & (weights > 0) for flag in (1, 0)]
        means = [_mean(gain, np.where(part, weights, 0.0)) for part in parts]
        said = {"classes": [int(part.sum()) for part in parts], "gain": [number(m) for m in means]}
        nothing = said | {"difference": None, "interval": [None, None], "adjusted": None}
        nothing |= {"adjusted_interval": [None, None], "reason": "too few classes or resamples to compare"}
        few = df < FEWEST_LEFT or self.drawn.shape[1] < FEWEST_RESAMPLES
        if few or not all(part.sum() > 1 for part in parts):
            return nothing

        def statistic(base: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[float, float]:
            both = np.where(np.isnan(y).any(axis=0), 0.0, w)
            first, second = (_mean(y.mean(axis=0), np.where(inside == flag, both, 0.0)) for flag in (1, 0))
            return first - second, partial.partial(partial.moments(inside, self.known, base, y, w))[1]

        estimated = self._estimate(statistic, "gain", weights)
        if estimated is None:
            return nothing
        (_, adjusted), errors = estimated
        difference, reach = means[0] - means[1], t_quantile(0.975, df) * errors
        return said | {
            "difference": difference,
            "interval": _around(difference, reach[0]),
            "adjusted": float(adjusted),
            "adjusted_interval": _around(adjusted, reach[1]),
        }

    def _estimate(
        self, statistic: Callable[..., tuple[float, float]], response: str, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """(the two numbers, mean over the splits; their standard errors, robust, over the resamples).

        None where half of the resamples, or all of the splits, have none.
        """

        def values(gains: ClassGains, drawn: np.ndarray) -> np.ndarray:
            halves = (getattr(gains, name).reshape(len(weights), -1, 2) for name in ("base", response))
            base, y = (np.moveaxis(half, 0, 2) for half in halves)
            rows = [statistic(base[b], y[b], weights * drawn[:, b]) for b in range(len(base))]
            return np.array(rows)

        ones = np.ones((len(weights), self.halved.splits.gain.shape[1] // 2))
        point, drawn = values(self.halved.splits, ones), values(self.halved.resamples, self.drawn)
        point, defined = (values[~np.isnan(values).any(axis=1)] for values in (point, drawn))
        if not len(point) or 2 * len(defined) < len(drawn):
            return None
        spread = np.quantile(defined, [_AT_16, _AT_84], axis=0)
        return point.mean(axis=0), (spread[1] - spread[0]) / 2


def _around(value: float, reach: float) -> list[float]:
    return [float(value - reach), float(value + reach)]


def _ranked(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return np.stack([partial.ranks(np.where(classes, half, np.nan)) for half in y])


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    there = (weights > 0) & ~np.isnan(values)
    return float(np.average(values[there], weights=weights[there])) if there.any() else math.nan


def sentence(found: Mapping[str, Any]) -> str:
    """The result in one sentence."""
    row = found["gain"]
    if row["correlation"] is None:
        return f"Whether hashtags pay cannot be told: {row['reason']}."
    low, high = row["interval"]
    numbers = (
        f"partial rank correlation {signed(row['correlation'], 2)}, 95% interval {span(row['interval'], 2)}, "
        f"p {equals(row['p'])}, over {row['classes']} classes"
    )
    if low <= 0 <= high:
        return f"No link between hashtags and gains can be claimed ({numbers})."
    more = "more" if low > 0 else "less"
    slope = f"tenfold hashtags, {signed(row['slope'])} points of AP@.1"
    return f"All else that was measured equal, classes of more hashtags gain {more} ({numbers}; {slope})."
