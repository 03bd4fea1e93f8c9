"""Posts and images to WebDataset tars: checked once, the same for any number of workers."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pretrain.posts import records as posts
from pretrain.posts.seen import Seen
from pretrain.shards import images
from pretrain.shards.images import Located, Source
from pretrain.vocabulary.classes import Labeller
from wsl_det.core import files
from wsl_det.core.photos import BadImage

# A shard closes at this many images even when they are small, so that workers share the job.
MAX_IMAGES = 10_000
_BLOCK = 512
NO_LABEL = {
    "hashtags": "no hashtag of the vocabulary",
    "synsets": "true class in no class of the vocabulary",
}
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")


class Item(NamedTuple):
    """One post on its way into a shard."""

    key: str
    post: posts.Post
    labels: tuple[int, ...]  # from hashtags
    synset_labels: tuple[int, ...]
    where: Located


class Rejection(NamedTuple):
    """A post whose image cannot be used."""

    id: str
    image: str
    reason: str


@dataclass
class Planned:
    """What one shard will hold: images in post order, and posts rejected while looking for them."""

    items: list[Item] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    two_kinds: bool = False


@dataclass
class Written:
    """What one shard holds, row by row, and what was rejected while checking its images."""

    file: Path  # what holds the images; gone when there are none
    keys: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)  # offset and size of each JPEG
    labels: list[tuple[int, ...]] = field(default_factory=list)  # of the folder's first kind
    synset_labels: list[tuple[int, ...]] = field(default_factory=list)  # of its second, if any
    digests: list[str] = field(default_factory=list)  # of each image file where its class is its only label
    rejected: list[Rejection] = field(default_factory=list)
    bytes: int = 0
    sha256: str = ""
    etag: str = ""  # of a tar at an address that stays there
    dropped: Counter[str] = field(default_factory=Counter)  # posts left out, by reason
    apart: Counter[str] = field(default_factory=Counter)  # images in no arm of a comparison, by reason


class Planner:
    """Splits posts into shards by the sizes of their image files, before any is decoded.

    So the split does not depend on who decodes, and shards can be made in any order. A post is
    left out, and counted in ``dropped``, when it names no image, has no label of the first of
    ``kinds``, or repeats an id.
    """

    def __init__(
        self, labeller: Labeller, source: Source, shard_bytes: int, kinds: Sequence[str] = ("hashtags",)
    ) -> None:
        self.kinds = kinds
        self.labeller = labeller
        self.source = source
        self.shard_bytes = shard_bytes
        self.dropped: Counter[str] = Counter()
        self._seen = Seen()

    def plan(self, stream: Iterable[posts.Post]) -> Iterator[Planned]:
        """The shards to be made, in order."""
        two = len(self.kinds) > 1
        shard, size = Planned(two_kinds=two), 0
        for post in stream:
            item = self._item(post, shard)
            if item is None:
                continue
            if shard.items and (size + item.where.size > self.shard_bytes or len(shard.items) >= MAX_IMAGES):
                yield shard
                shard, size = Planned(two_kinds=two), 0
            shard.items.append(item)
            size += item.where.size
        if shard.items or shard.rejected:
            yield shard

    def _item(self, post: posts.Post, shard: Planned) -> Item | None:
        labels, true = labels_of(post, self.labeller, self.kinds)
        key = key_of(post.id)
        if not (labels or (true and self.kinds[0] == "synsets")):
            self.dropped[NO_LABEL[self.kinds[0]]] += 1
        elif post.image is None:
            self.dropped["no image named"] += 1
        elif not self._seen.add(key):
            self.dropped["id seen before"] += 1
        else:
            try:
                return Item(key, post, labels, true, self.source.locate(post.image))
            except BadImage as rejected:
                shard.rejected.append(Rejection(post.id, post.image, str(rejected)))
        return None


def labels_of(
    post: posts.Post, labeller: Labeller, kinds: Sequence[str]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Class ids from the hashtags and from the true classes of a post, of those ``kinds``, ascending."""
    labels = labeller.labels(post.hashtags) if "hashtags" in kinds else ()
    return tuple(labels), tuple(labeller.classes(post.classes)) if "synsets" in kinds else ()


def key_of(post_id: str) -> str:
    """The WebDataset key of a post id: letters, digits, _ and - only, different for different ids.

    WebDataset splits names at the first dot and takes a slash for a folder, so other ids are
    rewritten and get a hash of the original.
    """
    if _PLAIN_KEY.fullmatch(post_id):
        return post_id
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", post_id)[:40]
    return f"{readable}-{hashlib.sha256(post_id.encode()).hexdigest()[:16]}"


def write_shard(path: Path, planned: Planned, max_short_side: int) -> Written:
    """Decode, check and write the images of one shard into a tar at ``path``; no tar when none is sound."""
    shard, two = Written(path, rejected=list(planned.rejected)), planned.two_kinds
    with open(path, "wb") as file:
        for item in planned.items:
            try:
                data = item.where.read()
                jpeg = images.to_jpeg(data, max_short_side, item.where.orientation)
            except BadImage as rejected:
                shard.rejected.append(Rejection(item.post.id, item.post.image or "", str(rejected)))
                continue
            shard.spans.append((_member(file, f"{item.key}.jpg", jpeg), len(jpeg)))
            beside: dict[str, Any] = {
                "id": item.post.id,
                "hashtags": item.post.hashtags,
                "labels": item.labels,
                **({"synset_labels": item.synset_labels} if two or not item.labels else {}),
            }
            _member(file, f"{item.key}.json", json.dumps(beside).encode("ascii"))
            shard.keys.append(item.key)
            shard.ids.append(item.post.id)
            shard.labels.append(item.labels or item.synset_labels)
            if two:
                shard.synset_labels.append(item.synset_labels)
                if not item.synset_labels:
                    shard.apart[NO_LABEL["synsets"] if item.post.classes else "true class not known"] += 1
            elif not item.labels:
                shard.digests.append(hashlib.sha256(data).hexdigest())
        # Two empty blocks end a tar; records of 20 blocks are what tar itself writes.
        file.write(bytes(2 * _BLOCK))
        file.write(bytes(-file.tell() % tarfile.RECORDSIZE))
        shard.bytes = file.tell()
        # Before anybody notes that this shard is finished, a power cut must not be able to undo it.
        file.flush()
        os.fsync(file.fileno())
    if not shard.keys:
        path.unlink()
        return shard
    shard.sha256 = files.sha256(path)
    return shard


def _member(file: BinaryIO, name: str, data: bytes) -> int:
    # No time, no owner: the bytes are a function of the content.
    info = tarfile.TarInfo(name)
    info.size = len(data)
    file.write(info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict"))
    offset = file.tell()
    file.write(data)
    file.write(bytes(-len(data) % _BLOCK))
    return offset


def post_hash(post_id: str) -> int:
    """First 8 bytes of sha256(id), big-endian: where a post falls when posts are held out."""
    return int.from_bytes(hashlib.sha256(post_id.encode()).digest()[:8], "big")


def human(count: int) -> str:
    """A count as the paper writes it: 940M, 1.5k, 17k, 3.5B."""
    for unit, suffix in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        # 999,500 rounds to 1000k: it belongs to the next unit.
        if count >= unit * 0.9995:
            value = count / unit
            text = f"{value:.1f}".removesuffix(".0") if value < 9.95 else f"{value:.0f}"
            return text + suffix
    return str(count)


def data_set_name(role: str, source: str, num_images: int, num_labels: int) -> str:
    """role-source-I-L, the paper's way to name image sets: train-IG-940M-1.5k."""
    return f"{role}-{source}-{human(num_images)}-{human(num_labels)}"
