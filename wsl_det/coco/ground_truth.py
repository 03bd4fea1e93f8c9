"""What an annotation file says, as columns: images, categories and objects in pycocotools' order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wsl_det.errors import DataError


def places(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(N,) int64 place of each wanted id in ``known`` (K,), which ascends, or -1."""
    if len(known) == 0 or len(wanted) == 0:
        return np.full(len(wanted), -1)
    span = int(known[-1]) - int(known[0])
    if span > 4 * (len(known) + len(wanted)):
        place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    else:  # a table is far quicker than to search for each
        table = np.zeros(span + 1, dtype=np.int64)
        table[known - known[0]] = np.arange(len(known))
        place = table[np.clip(wanted, known[0], known[-1]) - known[0]]
    return np.where(known[place] == wanted, place, -1)


@dataclass(frozen=True)
class Federated:
    """What LVIS adds: for which classes an image was judged, and how far.

    negative, not_exhaustive: I arrays of class indices int32, ascending: classes known to be absent from an
    image, and those of which not all objects there are annotated. ignored: (G,) bool of objects with
    ``ignore`` or an area of 0, which neither count nor cost. crowd_flags: how many objects have ``iscrowd``,
    which LVIS does not read. lacking: why the file cannot be scored, such as an image without one of the
    lists, or "".
    """

    negative: Sequence[np.ndarray]
    not_exhaustive: Sequence[np.ndarray]
    ignored: np.ndarray
    crowd_flags: int = 0
    lacking: str = ""


@dataclass(frozen=True)
class GroundTruth:
    """Images, classes and objects of a test or training set as columns.

    image_ids: (I,) int64 ascending. image_sizes: (I, 2) int64 height, width, or -1 when the file
    has none. file_names: I names below the image folder, or None where the file has none.
    category_ids: (K,) int64 ascending. category_names: K names as they stand in the file.
    object_*: (G,) columns ordered by image and then as in the file, which is pycocotools' order:
    annotation ids int64, image and class indices int32, boxes_xywh (G, 4) float64, area float64 (NaN
    where the file has none), crowd bool.
    segmentations: G raw values (polygons, RLE or None), not judged yet: see ``shapes``.
    federated: LVIS's sets, or None for a file whose images are annotated for all classes.
    category_synsets, category_frequency, category_image_count: of each of K categories WordNet's synset as
    the file names it ("dog.n.01"), "r", "c" or "f" by the number of *training* images, and that number
    (int64); "" and -1 where the file does not say, nothing at all for a truth that is not of a file.
    no_credit: (I,) bool of images where no detection may match anything, or None (``duplicates``).
    """

    image_ids: np.ndarray
    image_sizes: np.ndarray
    file_names: Sequence[str | None]
    category_ids: np.ndarray
    category_names: Sequence[str]
    object_ids: np.ndarray
    object_image: np.ndarray
    object_class: np.ndarray
    object_boxes_xywh: np.ndarray
    object_area: np.ndarray
    object_crowd: np.ndarray
    segmentations: Sequence[Any]
    source: str
    federated: Federated | None = None
    category_synsets: Sequence[str] = ()
    category_frequency: Sequence[str] = ()
    category_image_count: np.ndarray | None = None
    no_credit: np.ndarray | None = None

    @property
    def num_objects(self) -> int:
        return len(self.object_image)

    @property
    def class_names(self) -> list[str]:
        """Names for tables; a name that several categories share becomes ``facade (id 3)``."""
        count = Counter(self.category_names)
        return [
            f"{name} (id {i})" if count[name] > 1 else name
            for i, name in zip(self.category_ids.tolist(), self.category_names, strict=True)
        ]

    @property
    def renumbered(self) -> bool:
        """Whether an annotation has id 0, which pycocotools would never match."""
        return bool((self.object_ids == 0).any())

    @property
    def object_counts(self) -> np.ndarray:
        """(G,) bool of the objects that are to be found: neither crowds nor to be ignored."""
        return ~self.object_crowd if self.federated is None else ~self.federated.ignored

    def class_counts(self) -> np.ndarray:
        """(K,) objects of each class that count, crowds left out."""
        return np.bincount(self.object_class[self.object_counts], minlength=len(self.category_ids))

    def images_of_classes(self) -> np.ndarray:
        """(K,) images in which a class has objects that count."""
        there = self.object_counts
        pairs = self.object_class[there].astype(np.int64) * len(self.image_ids) + self.object_image[there]
        return np.bincount(np.unique(pairs) // max(len(self.image_ids), 1), minlength=len(self.category_ids))

    def object_sizes(self) -> np.ndarray:
        """(G, 2) int64 height and width of the image of each object."""
        return self.image_sizes[self.object_image]

    def annotation(self, i: int) -> str:
        """How messages call an object: the file and the id of its annotation."""
        return f"{self.source}: annotation {self.object_ids[i]}"

    def without_images(self, gone: np.ndarray) -> GroundTruth:
        """The same without the images where ``gone`` (I,) bool is set, and without their objects."""
        kept, objects = np.flatnonzero(~gone), np.flatnonzero(~gone[self.object_image])
        sets = self.federated
        return replace(
            self,
            image_ids=self.image_ids[kept],
            image_sizes=self.image_sizes[kept],
            file_names=[self.file_names[i] for i in kept.tolist()],
            object_ids=self.object_ids[objects],
            object_image=(np.cumsum(~gone) - 1)[self.object_image[objects]].astype(np.int32),
            object_class=self.object_class[objects],
            object_boxes_xywh=self.object_boxes_xywh[objects],
            object_area=self.object_area[objects],
            object_crowd=self.object_crowd[objects],
            segmentations=[self.segmentations[i] for i in objects.tolist()],
            federated=sets
            and replace(
                sets,
                negative=[sets.negative[i] for i in kept.tolist()],
                not_exhaustive=[sets.not_exhaustive[i] for i in kept.tolist()],
                ignored=sets.ignored[objects],
            ),
        )

    def photos(self, folder: Path) -> list[Path]:
        """Where the I images lie; a DataError for one without a name, or whose name leaves ``folder``."""
        from wsl_det.core import photos  # Pillow, which evaluation does not need

        places = []
        for i, name in zip(self.image_ids.tolist(), self.file_names, strict=True):
            if name is None:
                raise DataError(
                    f"{self.source}: image {i} has no 'file_name' and no 'coco_url'; it needs one"
                )
            try:
                places.append(photos.below(folder, name or "/"))
            except photos.BadImage as error:
                raise DataError(
                    f"{self.source}: image {i} has file_name {name!r:.80}, and its {error}; expected a path "
                    f"below {folder}"
                ) from None
        return places
