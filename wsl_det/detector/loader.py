"""Records -> batches of examples: worker processes, exact resume, bad files counted within a budget."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from torch.utils import data

from wsl_det.core import budget as budgets
from wsl_det.core import log
from wsl_det.core import seed as seeds
from wsl_det.core.config import Config
from wsl_det.detector import images, sampler, targets
from wsl_det.detector.coco_records import Record
from wsl_det.detector.sampler import Draw
from wsl_det.detector.transforms import Augmentation
from wsl_det.detector.types import Example
from wsl_det.errors import ConfigError, DataError

_ATTEMPTS = 10
# What torch says of a worker without room in shared memory: by an error, or by SIGBUS.
_FULL = ("No space left on device", "shared memory", "Bus error")
_NO_ROOM = (
    "there is no room in /dev/shm for what the loader's processes send; give a container more "
    "(docker run --shm-size 8g, or --ipc host), or load in the trainer itself: DATALOADER.NUM_WORKERS 0"
)
_KILLED = (
    "a process of the loader died ({}); most often the memory is used up: fewer DATALOADER.NUM_WORKERS need "
    "less. Checkpoints are kept; continue with --resume"
)


@dataclass(frozen=True)
class Loaded:
    """What a worker sends back: the example, and the files (path, reason) it could not use on the way."""

    example: Example | None
    failures: tuple[tuple[str, str], ...] = ()


class PackedRecords(Sequence[Record]):
    """Records in one byte array: worker processes share its memory instead of copying object by object."""

    def __init__(self, records: Sequence[Record]) -> None:
        packed = [pickle.dumps(r, protocol=pickle.HIGHEST_PROTOCOL) for r in records]
        self._ends = np.cumsum([len(p) for p in packed])
        self._bytes = np.frombuffer(b"".join(packed), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Record:  # type: ignore[override]
        start = self._ends[index - 1] if index else 0
        # Made a few lines above by this process, never read from a file.
        return pickle.loads(self._bytes[start : self._ends[index]].tobytes())


@dataclass(frozen=True)
class TrainingImages(data.Dataset[Loaded]):
    """Draws -> augmented examples with targets; chance comes from (seed, position) alone."""

    records: PackedRecords
    augmentation: Augmentation
    channel_order: str
    seed: int
    masks: str | None

    def __getitem__(self, draw: Draw) -> Loaded:
        """The example of a draw; an unreadable image is replaced by one drawn for that position."""
        position, index = draw
        failures: list[tuple[str, str]] = []
        for attempt in range(_ATTEMPTS):
            record = self.records[index]
            try:
                pixels = images.read_image(record.path, self.channel_order, (record.height, record.width))
            except images.BadImage as error:
                failures.append((str(record.path), str(error)))
                rng = seeds.numpy_generator(self.seed, "replacement", position, attempt)
                index = int(rng.integers(len(self.records)))
                continue
            return Loaded(self._example(record, pixels, position), tuple(failures))
        return Loaded(None, tuple(failures))

    def _example(self, record: Record, pixels: np.ndarray, position: int) -> Example:
        rng = seeds.numpy_generator(self.seed, "augmentation", position)
        geometry = self.augmentation.draw(record.height, record.width, rng)
        target = targets.build(
            record.objects, geometry, masks=self.masks, tighten=self.augmentation.crop is not None
        )
        image = torch.from_numpy(geometry.image(pixels))
        return Example(image, record.image_id, record.height, record.width, target)


@dataclass(frozen=True)
class TestImages(data.Dataset[Loaded]):
    """Records -> resized examples without targets, in order."""

    __test__ = False  # pytest, this is no test

    records: PackedRecords
    augmentation: Augmentation
    channel_order: str

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Loaded:
        record = self.records[index]
        try:
            pixels = images.read_image(record.path, self.channel_order, (record.height, record.width))
        except images.BadImage as error:
            return Loaded(None, ((str(record.path), str(error)),))
        # Nothing is random here: one size, no flip; the generator is only asked to choose among one.
        geometry = self.augmentation.draw(
            record.height, record.width, np.random.Generator(np.random.Philox(0))
        )
        image = torch.from_numpy(geometry.image(pixels))
        return Loaded(Example(image, record.image_id, record.height, record.width))


class Budget(budgets.Budget):
    """Unusable files out of ``total``, by WSL_DET.BAD_IMAGE_BUDGET; one is always forgiven."""

    def __init__(self, total: int, fraction: float) -> None:
        super().__init__(fraction, "WSL_DET.BAD_IMAGE_BUDGET", total, forgiven=1)

    def note(self, loaded: Loaded) -> Example | None:
        """The example, after counting what went wrong; raises DataError beyond the budget."""
        for path, reason in self.count(loaded.failures):
            log.get("loader").warning("image left out: %s: %s", path, reason)
        if loaded.example is None and len(loaded.failures) >= _ATTEMPTS:
            raise self.exceeded()
        return loaded.example


def training_batches(
    cfg: Config,
    records: Sequence[Record],
    budget: Budget,
    *,
    seed: int,
    rank: int,
    world_size: int,
    start: int,
) -> Iterator[list[Example]]:
    """Endless batches of this rank, beginning with the one of iteration ``start``.

    The skipped ones are replayed as indices; no image is opened for them. Raises ConfigError when
    SOLVER.IMS_PER_BATCH does not divide among the ranks.
    """
    per_rank = _images_per_rank(cfg, world_size)
    stream = sampler.training_stream(len(records), seed, _repeats(cfg, records))
    mine = sampler.of_rank(stream, rank, world_size)
    if cfg.DATALOADER.ASPECT_RATIO_GROUPING:
        draws = sampler.grouped_batches(mine, [r.width > r.height for r in records], per_rank)
    else:
        draws = sampler.plain_batches(mine, per_rank)
    masks = cfg.INPUT.MASK_FORMAT if cfg.MODEL.MASK_ON else None
    packed, augmentation = PackedRecords(records), training_augmentation(cfg)
    dataset = TrainingImages(packed, augmentation, cfg.INPUT.FORMAT, seed, masks)
    rest = islice(draws, start, None)
    for batch in _loaded(dataset, cfg.DATALOADER.NUM_WORKERS, batch_sampler=rest):
        noted = (budget.note(loaded) for loaded in batch)
        yield [example for example in noted if example is not None]


def test_examples(cfg: Config, records: Sequence[Record], budget: Budget) -> Iterator[Example]:
    """Resized examples in the order of ``records``; unusable files are counted and left out."""
    augmentation = Augmentation([cfg.INPUT.MIN_SIZE_TEST], cfg.INPUT.MAX_SIZE_TEST)
    dataset = TestImages(PackedRecords(records), augmentation, cfg.INPUT.FORMAT)
    for batch in _loaded(dataset, min(cfg.DATALOADER.NUM_WORKERS, len(dataset)), batch_size=1):
        for loaded in batch:
            example = budget.note(loaded)
            if example is not None:
                yield example


test_examples.__test__ = False  # type: ignore[attr-defined]


def check(cfg: Config, world_size: int) -> None:
    """Raise the ConfigErrors that ``training_batches`` would raise once it is asked for a batch."""
    _images_per_rank(cfg, world_size)
    training_augmentation(cfg)


def _images_per_rank(cfg: Config, world_size: int) -> int:
    per_rank, left = divmod(cfg.SOLVER.IMS_PER_BATCH, world_size)
    if left:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH} for {world_size} processes; "
            "it counts the images of all of them and must be a multiple"
        )
    return per_rank


def training_augmentation(cfg: Config) -> Augmentation:
    """INPUT's crop, sizes and flip."""
    crop = cfg.INPUT.CROP
    return Augmentation(
        list(cfg.INPUT.MIN_SIZE_TRAIN),
        cfg.INPUT.MAX_SIZE_TRAIN,
        sample_range=cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "range",
        flip=cfg.INPUT.RANDOM_FLIP,
        crop=(crop.TYPE, tuple(crop.SIZE)) if crop.ENABLED else None,
    )


def _repeats(cfg: Config, records: Sequence[Record]) -> torch.Tensor | None:
    if cfg.DATALOADER.SAMPLER_TRAIN == "TrainingSampler":
        return None
    classes = [[a.category for a in r.annotations] for r in records]
    return sampler.repeat_factors(
        classes, cfg.DATALOADER.REPEAT_THRESHOLD, square_root=cfg.DATALOADER.REPEAT_SQRT
    )


def _loaded(dataset: data.Dataset[Loaded], workers: int, **how: Any) -> Iterator[list[Loaded]]:
    """The batches of a data set; DataError for a worker that dies or has no room in /dev/shm."""
    try:
        # Its own generator: the loader would draw a base seed from the global one.
        own = torch.Generator().manual_seed(0)
        loader = data.DataLoader(
            dataset, num_workers=workers, collate_fn=_sent, worker_init_fn=_sheltered, generator=own, **how
        )
        noticed = signal.getsignal(signal.SIGCHLD)
        batches = iter(loader)
        if threading.current_thread() is threading.main_thread():
            # torch would raise in the middle of a step when a worker dies; asked for data, it does where
            # the state is whole.
            signal.signal(signal.SIGCHLD, noticed)
        for batch in batches:
            yield batch if isinstance(batch, list) else _received(batch)
    except (RuntimeError, OSError) as error:
        if any(words in str(error) for words in _FULL):
            raise DataError(_NO_ROOM) from None
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(_KILLED.format(str(error).splitlines()[0])) from None


def _received(batch: bytes) -> list[Loaded]:
    """See ``_sent``; a worker that died cannot hand over the memory it had filled."""
    try:
        return pickle.loads(batch)
    except (ConnectionError, EOFError, FileNotFoundError):
        raise DataError(_KILLED.format("its batch went with it")) from None


def _sent(batch: list[Loaded]) -> list[Loaded] | bytes:
    """A batch as it travels from a worker.

    Its tensors are put into shared memory here, where a full one raises; the thread of a queue, which
    would do it otherwise, drops what fails, and the trainer waits for it for ever.
    """
    return bytes(ForkingPickler.dumps(batch)) if data.get_worker_info() is not None else batch


def _sheltered(worker: int) -> None:
    """Let signals to a whole group of processes end the trainer alone, which saves first.

    Workers go when the trainer does, or ends them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_await_end, daemon=True).start()


def _await_end() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
