"""A shard folder for a training loop of one's own: photos by number, streams of draws, data sets on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from pretrain.shards.index import ShardIndex
from pretrain.stream import loader, transforms
from pretrain.stream.sampling import SampleStream
from pretrain.stream.selection import Selection
from wsl_det.core.photos import BadImage
from wsl_det.errors import ConfigError, DataError


class Shards(ShardIndex):
    """The photos of a shard folder by number, 0 to len - 1; cheap to open, safe to fork and to pickle.

    ``read(i)`` is the JPEG file, ``labels(i)`` the class ids (k,) int32, ``key(i)`` the name in the tar,
    ``vocabulary`` what the ids mean, ``kinds`` the labels there are ("hashtags", "synsets"), ``sha256`` and
    ``name`` the data set's.
    """

    def stream(
        self,
        *,
        policy: str = "sqrt",
        seed: int = 0,
        heldout: float = 0.02,
        subset: float = 1.0,
        labels: str | None = None,
        threshold: float = 0.0,
    ) -> Stream:
        """The endless order in which photos are drawn, as ``pretrain_net`` draws them with the same values.

        policy: "natural" draws every photo once an epoch; "sqrt" and "uniform" repeat photos of rare classes
        (Mahajan et al. 2018), those under the frequency ``threshold`` (0: the median). heldout: the share of
        posts, by hash of their id, that is never drawn; subset: the share of the others that is. labels:
        "hashtags" or "synsets", by default the first kind that the folder has. Raises ConfigError for values
        out of range, DataError when no photo is left.
        """
        first = next(iter(self.kinds))
        if labels is not None and labels not in self.kinds:
            raise ConfigError(f"labels is {labels!r}; {self.folder} holds {' and '.join(self.kinds)}")
        offsets, values = self.kinds[first]
        stream = Stream(
            label_offsets=offsets,
            label_values=values,
            # Where both kinds are known, only photos that have both are drawn, whatever is trained on.
            others=self.kinds["synsets"][0] if len(self.kinds) > 1 else None,
            shown=None if labels in (None, first) else self.kinds[labels],
            post_hash=self.post_hash,
            shard_starts=self.shard_starts,
            num_tags=len(self.vocabulary),
            seed=seed,
            selection=Selection(heldout, subset, seed, None),
            policy=policy,
            threshold=threshold,
        )
        stream.shards, stream.seed = self, seed
        return stream


class Stream(SampleStream):
    """The endless order in which photos are drawn: a pure function of shards, seed and place.

    ``take(start, count)`` gives the numbers of the photos at these places, (count,) int64; ``tags(photos)``
    their class ids; ``epoch(n).draws`` is the length of an epoch, ``num_images`` how many photos are drawn.
    """

    shards: Shards
    seed: int

    def dataset(
        self,
        *,
        size: int = 224,
        epochs: int = 1,
        transform: Callable[[Image.Image], Any] | None = None,
    ) -> StreamDataset:
        """The first ``epochs`` epochs of the stream as a data set for ``torch.utils.data.DataLoader``."""
        return StreamDataset(self, size=size, epochs=epochs, transform=transform)


class StreamDataset(Dataset[tuple[Any, Tensor]]):
    """The places of a stream in their order: item i is (photo, target) of the i-th draw.

    The photo is a random crop, (3, size, size) uint8 RGB, which depends on the seed and the place alone, as
    in ``pretrain_net``; or what ``transform`` makes of the whole photo, a PIL image in RGB. The target is
    (classes,) float32 with 1/k on each of the k tags, as ``torch.nn.functional.cross_entropy`` takes it. The
    order is shuffled already: give a DataLoader ``shuffle=False``. Any number of workers gives the same
    batches; ``sampler=range(start, len(data))`` goes on in the middle, ``range(rank, len(data), world)`` is
    a process's share. A photo that cannot be read is a DataError that names it.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        size: int = 224,
        epochs: int = 1,
        transform: Callable[[Image.Image], Any] | None = None,
    ) -> None:
        if size < 1 or epochs < 1:
            raise ConfigError(f"size is {size}, epochs {epochs}; expected at least 1")
        self.stream, self.transform = stream, transform
        self._crop = transforms.TrainCrop(size)
        self._draws = sum(stream.epoch(number).draws for number in range(epochs))
        self._classes = len(stream.shards.vocabulary)

    def __len__(self) -> int:
        return self._draws

    def __getitem__(self, place: int) -> tuple[Any, Tensor]:
        if not 0 <= place < self._draws:
            raise IndexError(f"place {place} of a stream of {self._draws} draws")
        draw = self.stream.take(int(place), 1)
        number, shards = int(draw[0]), self.stream.shards
        try:
            photo = self._photo(shards.read(number), place)
        except BadImage as error:
            raise DataError(
                f"{shards.folder}: photo {shards.key(number)!r} cannot be read: {error}"
            ) from None
        tags = np.unique(self.stream.tags(draw)[0]).astype(np.int64)
        target = torch.zeros(self._classes)
        target[torch.from_numpy(tags)] = 1 / len(tags)
        return photo, target

    def _photo(self, data: bytes, place: int) -> Any:
        if self.transform is not None:
            return self.transform(Image.fromarray(transforms.decode(data, max_pixels=self._crop.max_pixels)))
        chances = loader.crop_chances(self.stream.seed, np.array([place]))[0]
        return torch.from_numpy(self._crop(data, chances.tolist())).permute(2, 0, 1)


def open_shards(path: str | Path) -> Shards:
    """See ``pretrain.open_shards``."""
    shards = Shards(path)
    shards.check()
    return shards
