"""pretrain(cfg): shards, stream, model and solver put together and run; config stops here."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import cv2
import torch
from torch import Tensor, nn

from pretrain.stream import exclusion, jpeg_regions, resampling_table, transforms
from pretrain.stream.loader import Batch, Loader, Tags, normalize
from pretrain.training import finish, losses, model, plan, probe, recompute, solver
from pretrain.training.averages import WeightAverage
from pretrain.training.job import Job, fingerprint, heldout_images, kept_updates, prepare
from wsl_det.core import checkpoint, dist, log, loop, seed
from wsl_det.core.config import Config, write_resolved
from wsl_det.errors import DataError, WslError

_SHOWN_KEYS = 8


def pretrain(cfg: Config, resume: bool = False) -> None:
    """Train to the end and write ``model_final.pth`` and ``results.json``; every process calls this."""
    device = dist.device(cfg.MODEL.DEVICE)
    job = prepare(cfg, rank=dist.rank(), world=dist.world_size())
    resume = dist.resumed(resume)
    folder = checkpoint.RunFolder(
        cfg.OUTPUT_DIR,
        keep=cfg.SOLVER.CHECKPOINTS_KEPT,
        milestone=cfg.SOLVER.MILESTONE_PERIOD,
        for_good=kept_updates(cfg, job.schedule),
    )
    # Our own threads decode; OpenCV's would fight them for the same cores.
    cv2.setNumThreads(1)
    run = Run(cfg, job, device, folder)
    with folder.claim(resume, room_for=plan.checkpoint_bytes(cfg, run.bare)):
        log.setup(cfg.OUTPUT_DIR, dist.rank())
        if resume and (folder.path / checkpoint.FINAL).exists() and run.finished():
            log.get("pretrain").info("%s is finished; nothing is left to do", folder.path)
        else:
            run.train(resume)


class Run:
    """One process's run: the model and what has to stay together while it trains."""

    def __init__(self, cfg: Config, job: Job, device: torch.device, folder: checkpoint.RunFolder) -> None:
        self.cfg, self.job, self.device, self.folder = cfg, job, device, folder
        self.stream = StreamName(job.stream_hash)
        self.statistics_agree = True
        self.loader = self._loader()
        bare = model.make(
            job.arch,
            len(job.posts.vocabulary),
            seed.generator("weights", cfg.SEED),
            bn_group=cfg.MODEL.BN_GROUP,
            groups_per_step=job.share.groups,
            bn_momentum=cfg.MODEL.BN_MOMENTUM,
            zero_init_last=cfg.MODEL.ZERO_INIT_LAST,
        )
        if cfg.MODEL.CHANNELS_LAST:
            bare = bare.to(memory_format=torch.channels_last)
        self.bare = bare.to(device)
        decay = cfg.SOLVER.EMA_DECAY
        self.average = WeightAverage(self.bare, decay) if decay else None
        if cfg.MODEL.RECOMPUTE:
            recompute.recompute_blocks(self.bare)
        if cfg.MODEL.COMPILE:
            self.bare.compile()  # in place: names of parameters stay
        self.model = dist.wrap(self.bare)

    def finished(self) -> bool:
        """Whether the newest checkpoint is that of the last update."""
        latest = self.folder.latest()
        return latest is not None and latest[0] + 1 >= self.job.schedule.updates

    def train(self, resume: bool) -> None:
        """Train from the start, or from the newest checkpoint, to the end."""
        metrics = None
        if dist.is_main():
            metrics = log.MetricSink(self.folder.path / "metrics.jsonl", self.folder.path)
        self._announce()
        self._run(self._trainer(metrics), metrics, resume)

    def _run(self, trainer: loop.Loop, metrics: log.MetricSink | None, resume: bool) -> None:
        updates = self.job.schedule.updates
        start = trainer.resume() if resume else 0
        if self.job.schedule.cool_from and not start:
            start = self.job.schedule.cool_from
            trainer.branch(self.cfg.SOLVER.COOL_FROM, start, ("SOLVER.COOL_FROM", "SOLVER.COOL_SHARE"))
        if dist.is_main():  # not before: other settings may have been refused
            write_resolved(self.cfg, self.folder.path / "config.yaml")
        trainer.run(self.loader.batches(start, updates, self.stream.value), start)
        try:
            found = self.measure(updates - 1)
        except (WslError, OSError) as error:
            raise DataError(
                f"{error}\nThe training is done, its last checkpoint kept in {self.folder.path}: mend this "
                "and give the same command with --resume, which only measures and writes the weights"
            ) from error
        if metrics is not None:
            metrics.conclude({"iteration": updates - 1, **found})
            finish.write_results(self.cfg, self.job, self.folder, found, self.stream.value)
            with self._measured_weights():
                finish.write_weights(self.cfg, self.job, self.folder, self.bare)

    def losses(self, batch: Batch, iteration: int) -> dict[str, Tensor]:
        """The loss of a piece of a batch; beside it the loss above its least value, and the share skipped."""
        self.stream.value = batch.stream
        self.statistics_agree = False
        inputs = normalize(
            batch.images.to(self.device, non_blocking=True),
            self.cfg.INPUT.PIXEL_MEAN,
            self.cfg.INPUT.PIXEL_STD,
        )
        if not self.cfg.MODEL.CHANNELS_LAST:
            inputs = inputs.contiguous()
        tags = Tags(*(t.to(self.device, non_blocking=True) for t in batch.tags))
        loss, least = losses.hashtag_loss(self.model(inputs), tags, smoothing=self.cfg.SOLVER.LABEL_SMOOTHING)
        skipped = loss.new_full((), self.loader.budget.share)
        return {"loss": loss, "kl": loss.detach() - least, "skipped": skipped}

    def average_statistics(self) -> None:
        """Give every process the mean of all processes' BN statistics; needed before they are used.

        The exponential average is linear, so averaging now or later comes to the same.
        """
        if self.statistics_agree or dist.world_size() == 1:
            return
        statistics = model.running_statistics(self.bare)
        if self.average is not None:
            statistics += self.average.statistics()
        model.average_over_processes(statistics)
        self.statistics_agree = True

    def measure(self, iteration: int) -> dict[str, float]:
        """Recall on the held-out posts, in percent; empty when none are held out."""
        cfg, posts = self.cfg, self.job.posts
        images = heldout_images(cfg, posts)
        if not len(images):
            log.get("pretrain").info("DATA.HELDOUT leaves no post to measure recall on")
            return {}
        self.average_statistics()
        with self._measured_weights():
            found = probe.measure(
                self.bare,
                posts,
                images,
                transforms.TestCrop(cfg.INPUT.SIZE, cfg.INPUT.TEST_RESIZE, cfg.DATA.MAX_PIXELS),
                pixel_mean=cfg.INPUT.PIXEL_MEAN,
                pixel_std=cfg.INPUT.PIXEL_STD,
                ranks=cfg.TEST.RECALL_AT,
                batch=cfg.TEST.BATCH,
                num_threads=cfg.DATA.NUM_THREADS,
                kinds=posts.kinds,
            )
        shown = "  ".join(f"{name} {value:.2f}" for name, value in found.items() if name != "heldout_images")
        log.get("pretrain").info("after %d updates, %d held-out posts: %s", iteration + 1, len(images), shown)
        return found

    def _measured_weights(self) -> AbstractContextManager[None]:
        """The weights that are measured and exported stand in the model inside this block."""
        return nullcontext() if self.average is None else self.average.in_place()

    def _loader(self) -> Loader:
        cfg, job = self.cfg, self.job
        crop = transforms.TrainCrop(
            cfg.INPUT.SIZE,
            area=cfg.INPUT.CROP_AREA,
            ratio=cfg.INPUT.CROP_RATIO,
            flip=cfg.INPUT.FLIP,
            max_pixels=cfg.DATA.MAX_PIXELS,
            reduce=cfg.INPUT.REDUCED_DECODE,
            regions=jpeg_regions.choose(cfg.INPUT.REGION_DECODE),
        )
        return Loader(
            job.posts,
            job.stream,
            crop,
            job.share,
            size=cfg.INPUT.SIZE,
            seed=cfg.SEED,
            num_threads=cfg.DATA.NUM_THREADS,
            prefetch=cfg.DATA.PREFETCH,
            skip_budget=cfg.DATA.SKIP_BUDGET,
            pin_memory=self.device.type == "cuda",
        )

    def _trainer(self, metrics: log.MetricSink | None) -> loop.Loop:
        cfg, job = self.cfg, self.job
        groups = solver.parameter_groups(
            self.bare,
            decay=cfg.SOLVER.WEIGHT_DECAY,
            decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
            decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        )
        optimizer = solver.sgd(
            groups,
            lr=job.schedule.peak,
            momentum=cfg.SOLVER.MOMENTUM,
            nesterov=cfg.SOLVER.NESTEROV,
            fused=cfg.SOLVER.FUSED,
        )
        follow = self.average
        course = loop.Plan(
            max_iter=job.schedule.updates,
            lr=job.schedule.factor,
            checkpoint_period=cfg.SOLVER.CHECKPOINT_PERIOD,
            checkpoints_at=kept_updates(cfg, job.schedule),
            log_period=cfg.LOG_PERIOD,
            amp=cfg.SOLVER.AMP,
            clip=self._clip if cfg.SOLVER.CLIP_NORM else None,
            hooks=(loop.Hook(cfg.TEST.EVAL_PERIOD, self.measure),),
            state={"stream": self.stream, **({"average": follow} if follow else {})},
            fingerprint=fingerprint(cfg, job),
            describe=self._describe,
            samples=lambda batch: len(batch.draws),
            pieces=lambda batch: batch.pieces(cfg.SOLVER.ACCUMULATE),
            note=lambda batch: {"stream": batch.stream[:16], "epoch": batch.epoch},
            after_step=follow.update if follow else lambda: None,
            before_save=self.average_statistics,
        )
        return loop.Loop(
            model=self.model,
            losses=self.losses,
            optimizer=optimizer,
            folder=self.folder,
            metrics=metrics,
            plan=course,
        )

    def _clip(self) -> None:
        nn.utils.clip_grad_norm_(self.bare.parameters(), self.cfg.SOLVER.CLIP_NORM)

    def _describe(self, batch: Batch) -> str:
        keys = [self.job.posts.key(int(i)) for i in batch.draws[:_SHOWN_KEYS]]
        more = len(batch.draws) - len(keys)
        return f"images {', '.join(keys)}{f' and {more} more' if more > 0 else ''}"

    def _announce(self) -> None:
        job, posts = self.job, self.job.posts
        log.get("pretrain").info(
            "%s, %d classes, %d parameters; %s: %d images to train on, %d draws an epoch; "
            "%d updates of %d images in BN groups of %d on %d processes; peak learning rate %g",
            job.arch.name,
            len(posts.vocabulary),
            model.count_parameters(self.bare)["total"],
            posts.name,
            job.stream.num_images,
            job.stream.epoch(0).draws,
            job.schedule.updates,
            job.share.batch,
            job.share.group,
            job.share.world,
            job.schedule.peak,
        )
        if dist.is_main():
            if job.verdicts is not None:
                log.get("pretrain").info("%s", exclusion.told(job.verdicts, posts))
            told = plan.studied(self.cfg, job)
            names = [entry.name for entry in posts.vocabulary.classes]
            for line in [*([told] if told else []), *resampling_table.describe(job.stream, names)]:
                log.get("pretrain").info("%s", line)


class StreamName:
    """The running hash of the sample stream, as it travels in a checkpoint."""

    def __init__(self, value: str) -> None:
        self.value = value

    def state_dict(self) -> dict[str, Any]:
        """The hash after the last batch that was trained on."""
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's hash."""
        self.value = str(state["value"])
