"""train_net's job: a config to a trained detector, its predictions and its results."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsl_det import predictions
from wsl_det.core import config, dist, files, log, loop, provenance
from wsl_det.core import seed as seeds
from wsl_det.core.checkpoint import FINAL, RunFolder, state_bytes
from wsl_det.core.config import Config
from wsl_det.detector import (
    coco_records,
    datasets,
    infer,
    loader,
    pictures,
    settings,
    solver,
    trunks,
    weights,
)
from wsl_det.detector.coco_records import CocoDataset, Record
from wsl_det.detector.engine import DetectorEngine, select_engine
from wsl_det.detector.types import Example
from wsl_det.detector.weights import Start
from wsl_det.errors import CheckpointError, ConfigError, DataError, WslError

Evaluate = Callable[[str, str], dict[str, Any]]
"""(annotation file, predictions file) -> the content of results.json. The detector imports no evaluation."""
SCHEMA = 1
# VIS_PERIOD draws this many test images, with detections that score at least so much.
_SHOWN = 4
_SHOWN_SCORE = 0.3
_KINDS = ("bbox", "segm")


@dataclass(frozen=True)
class Job:
    """What the command line says; picklable, since every process of a launch gets a copy."""

    cfg: Config
    registered: datasets.Registered = field(default_factory=dict)
    engine: str = "auto"
    resume: bool = False
    eval_only: bool = False
    evaluate: Evaluate | None = None
    config_file: Path | None = None


def run(job: Job) -> dict[str, Any]:
    """Train (unless ``eval_only``), detect on DATASETS.TEST, evaluate; results by data set name.

    Runs in every process of a launch. Everything that can be refused is refused before OUTPUT_DIR
    is touched. Raises ConfigError, DataError, CheckpointError and EngineError.
    """
    log.setup(None, dist.rank())
    job = replace(job, cfg=trunks.settled(job.cfg))
    if job.eval_only:
        return _evaluate_only(job)
    return _train(replace(job, resume=dist.resumed(job.resume)))


def _train(job: Job) -> dict[str, Any]:
    cfg = solver.scaled_to(job.cfg, dist.world_size())
    settings.check(cfg)
    weights.check(cfg, job.config_file)
    engine_type = select_engine(job.engine)
    train_sets = datasets.read(cfg.DATASETS.TRAIN, job.registered, "TRAIN")
    test_sets = _test_sets(job, cfg) if cfg.DATASETS.TEST else []
    datasets.check_num_classes(cfg.MODEL.ROI_HEADS.NUM_CLASSES, [*train_sets, *test_sets])
    datasets.check_categories(train_sets[0].category_names, str(train_sets[0].json_path), test_sets)
    masks = cfg.INPUT.MASK_FORMAT if cfg.MODEL.MASK_ON else None
    keep_empty = not cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    records = coco_records.training_records(train_sets, masks=masks, keep_empty=keep_empty)
    cfg = settings.with_seed(cfg, resume=job.resume)
    settings.set_backends(cfg)
    engine = engine_type(cfg)
    model = engine.build()
    start = weights.load(model, cfg, cfg.SEED)
    loader.check(cfg, dist.world_size())
    optimizer, rate = solver.optimizer(cfg, model), solver.learning_rate(cfg)
    folder = RunFolder(cfg.OUTPUT_DIR, cfg.WSL_DET.KEEP_CHECKPOINTS)
    run_ = _Run(job, cfg, engine, model, start, folder, test_sets)
    with folder.claim(job.resume, room_for=state_bytes(model)):
        run_.announce([*train_sets, *test_sets])
        metrics = run_.fit(records, train_sets, optimizer, rate)
        return run_.finish(train_sets, metrics)


def _evaluate_only(job: Job) -> dict[str, Any]:
    cfg = job.cfg
    settings.check(cfg)
    if job.resume and (latest := RunFolder(cfg.OUTPUT_DIR).pulled().latest()):
        cfg = cfg.override(MODEL__WEIGHTS=str(latest[1]))
    if not cfg.MODEL.WEIGHTS:
        raise ConfigError("--eval-only needs a detector: MODEL.WEIGHTS PATH/model_final.pth, or --resume")
    weights.check(cfg, job.config_file)
    engine = select_engine(job.engine)(cfg)
    test_sets = _test_sets(job, cfg)
    datasets.check_num_classes(cfg.MODEL.ROI_HEADS.NUM_CLASSES, test_sets)
    settings.set_backends(cfg)
    model = engine.build()
    start = weights.detector(model, cfg.MODEL.WEIGHTS)
    if start.categories is not None:
        datasets.check_categories(start.class_names, f"{start.path}", test_sets, CheckpointError)
    run_ = _Run(job, cfg, engine, model, start, RunFolder(cfg.OUTPUT_DIR), test_sets)
    # The predictions of two would be one file: a training's folder is free when the training has ended.
    with run_.folder.claim(resume=True, wait_s=0.0):
        run_.announce(test_sets)
        # Evaluating in a training run's folder must not replace the config that the run was made with.
        if not (run_.folder.path / "config.yaml").exists():
            run_.record()
        return run_.test_finally(run_.start)


def _test_sets(job: Job, cfg: Config) -> list[CocoDataset]:
    """DATASETS.TEST, checked for all that would end the evaluation after hours of training."""
    if job.evaluate is None:
        sets = datasets.read(cfg.DATASETS.TEST, job.registered, "TEST")
    else:
        sets = datasets.read_to_score(cfg.DATASETS.TEST, job.registered, masks=cfg.MODEL.MASK_ON)
    for dataset in sets:
        datasets.check_photos(dataset, cfg.WSL_DET.BAD_IMAGE_BUDGET)
    return sets


@dataclass(frozen=True)
class _Run:
    """One run's objects, put together and checked."""

    job: Job
    cfg: Config
    engine: DetectorEngine
    model: nn.Module
    start: Start
    folder: RunFolder
    test_sets: Sequence[CocoDataset]

    def announce(self, sets: Sequence[CocoDataset]) -> None:
        """Set up the log, say what was read."""
        logger = log.setup(self.folder.path, dist.rank())
        for dataset in {d.name: d for d in sets}.values():
            logger.info("%s", coco_records.describe(dataset))
        logger.info("engine: %s %s; starting from %s", self.engine.name, self.engine.version, self.start)

    def record(self) -> None:
        """Write config.yaml."""
        if dist.is_main():
            config.write_resolved(self.cfg, self.folder.path / "config.yaml")

    def fit(
        self,
        records: Sequence[Record],
        train_sets: Sequence[CocoDataset],
        optimizer: torch.optim.Optimizer,
        rate: Callable[[int], float],
    ) -> log.MetricSink | None:
        """Train to SOLVER.MAX_ITER, from the beginning or from the last checkpoint; what was measured."""
        cfg, output = self.cfg, self.folder.path
        wrapped = dist.wrap(self.model)
        hashes = [files.sha256(d.json_path) for d in train_sets]
        metrics = log.MetricSink(output / "metrics.jsonl", output) if dist.is_main() else None
        plan = loop.Plan(
            max_iter=cfg.SOLVER.MAX_ITER,
            lr=rate,
            checkpoint_period=cfg.SOLVER.CHECKPOINT_PERIOD,
            log_period=cfg.WSL_DET.LOG_PERIOD,
            amp=settings.amp(cfg),
            clip=solver.clipping(cfg, self.model.parameters()),
            hooks=self._hooks(metrics),
            fingerprint=settings.fingerprint(cfg, hashes, self.start.sha256),
            describe=_image_ids,
        )
        stepper = loop.Loop(
            model=wrapped,
            losses=self._losses(wrapped),
            optimizer=optimizer,
            folder=self.folder,
            metrics=metrics,
            plan=plan,
        )
        first = stepper.resume() if self.job.resume else 0
        self.record()  # not before: other settings may have been refused
        budget = loader.Budget(len(records), cfg.WSL_DET.BAD_IMAGE_BUDGET)
        where = {"seed": cfg.SEED, "rank": dist.rank(), "world_size": dist.world_size(), "start": first}
        stepper.run(loader.training_batches(cfg, records, budget, **where), first)
        if budget.bad:
            log.get("train").warning("%s", budget.summary())
        return metrics

    def finish(self, train_sets: Sequence[CocoDataset], metrics: log.MetricSink | None) -> dict[str, Any]:
        """Write model_final.pth, then predictions and results of every test set."""
        path = self.folder.path / FINAL
        dist.everywhere(lambda: dist.is_main() and self.folder.save_final(self._payload(train_sets)))
        trained = Start("detector", str(path), files.sha256(path), self.start.backbone)
        try:
            return self.test_finally(trained, metrics)
        except (WslError, OSError) as error:
            raise DataError(
                f"{error}\nThe training is done and kept in {path}: mend this and give the same command "
                "with --resume, which only detects and evaluates"
            ) from error

    def test_finally(self, start: Start, metrics: log.MetricSink | None = None) -> dict[str, Any]:
        """``test`` into OUTPUT_DIR and ``metrics``, and what TEST.EXPECTED_RESULTS expects."""
        results = self.test(start, self.folder.path)
        if metrics is not None and results:
            metrics.conclude({"iteration": self.cfg.SOLVER.MAX_ITER - 1, **_scores(results)})
        _check_expected(self.cfg.TEST.EXPECTED_RESULTS, results)
        return results

    def test(self, start: Start, output: Path) -> dict[str, Any]:
        """Predictions and results of DATASETS.TEST into ``output``; results by data set name."""
        results: dict[str, Any] = {}
        for dataset in self.test_sets:
            infix = f".{dataset.name}" if len(self.test_sets) > 1 else ""
            found = infer.detect(self.engine, self.model, self.cfg, dataset.records, dataset.name)
            path = output / f"predictions{infix}.json"
            dist.everywhere(functools.partial(self._score, start, dataset, found, path, results))
        return results

    def _score(
        self, start: Start, dataset: CocoDataset, found: infer.Found, path: Path, results: dict[str, Any]
    ) -> None:
        if not dist.is_main():
            return
        rows = infer.coco_rows(found, dataset.category_ids)
        predictions.write(path, rows, infer.header(self.cfg, self.engine, start, dataset))
        if self.job.evaluate is not None:
            result = results[dataset.name] = self.job.evaluate(str(dataset.json_path), str(path))
            files.write_json(path.with_name(path.name.replace("predictions", "results", 1)), result)
            log.get("train").info("%s: %s", dataset.name, _shown(result))

    def _evaluate_meanwhile(self, iteration: int) -> dict[str, float]:
        return _scores(self.test(Start("detector"), self.folder.path / "inference"))

    def _hooks(self, metrics: log.MetricSink | None) -> list[loop.Hook]:
        if not self.test_sets:
            return []
        show = functools.partial(self._show, metrics)
        return [
            loop.Hook(self.cfg.TEST.EVAL_PERIOD, self._evaluate_meanwhile),
            loop.Hook(self.cfg.VIS_PERIOD, show, at_end=self.cfg.VIS_PERIOD > 0),
        ]

    def _show(self, metrics: log.MetricSink | None, iteration: int) -> None:
        """The first images of the first test set with what is detected in them, to TensorBoard."""
        dataset = self.test_sets[0]
        shown = dataset.records[:_SHOWN]
        found = dict(infer.detect(self.engine, self.model, self.cfg, shown, "drawing"))
        if metrics is None or metrics.board is None:
            return
        for record in shown:
            picture = pictures.panel(record, found.get(record.image_id), dataset.class_names, _SHOWN_SCORE)
            if picture is not None:
                tag = f"{dataset.name}/{record.image_id}"
                metrics.board.add_image(tag, picture, iteration, dataformats="HWC")

    def _losses(self, wrapped: nn.Module) -> loop.Losses:
        seed, rank = self.cfg.SEED, dist.rank()

        def losses(batch: list[Example], iteration: int) -> dict[str, Any]:
            # Anchors and boxes are sampled as a function of the place in the run, so that a resumed
            # run draws what it would have drawn.
            try:
                with self.engine.running(seeds.derive(seed, "step", iteration, rank)):
                    return wrapped(self.engine.encode(batch))
            except FloatingPointError as error:  # Detectron2's own check comes before there are losses
                raise DataError(
                    f"the predictions are not finite at iteration {iteration} (rank {rank} of "
                    f"{_image_ids(batch)}): {error} Lower the learning rate, lengthen the warm-up or clip "
                    "gradients. The last checkpoint is untouched."
                ) from error

        return losses

    def _payload(self, train_sets: Sequence[CocoDataset]) -> dict[str, Any]:
        made_from = {f"train {d.name}": str(d.json_path) for d in train_sets}
        start = f"sha256:{self.start.sha256}" if self.start.sha256 else None
        header = {
            **provenance.header("detector", SCHEMA, {**made_from, "weights": start}),
            "config": self.cfg.to_dict(),
            "engine": {"name": self.engine.name, "version": self.engine.version},
            "backbone": self.start.backbone,
            "categories": settings.categories(train_sets[0]),
        }
        model = {k: v.detach().cpu() for k, v in self.model.state_dict().items()}
        return {"model": model, "wsl_det": header}


def _scores(results: Mapping[str, dict[str, Any]]) -> dict[str, float]:
    """The defined numbers of results by data set under Detectron2's names: bbox/AP, bbox/AP-person, ...

    Before them stands the data set when there are several; of LVIS its bands instead of 1,203 classes.
    """
    found: dict[str, float] = {}
    for name, result in results.items():
        prefix = f"{name}/" if len(results) > 1 else ""
        for kind in (k for k in _KINDS if k in result):
            scores = {k: v for k, v in result[kind].items() if k.startswith("AP") and not isinstance(v, dict)}
            if "APr" not in scores:
                scores |= {f"AP-{k}": v["AP"] for k, v in result[kind].get("AP_by_class", {}).items()}
            found |= {f"{prefix}{kind}/{k}": v for k, v in scores.items() if v is not None}
    return found


def _shown(result: Mapping[str, Any]) -> str:
    pairs = ((f"{kind}/{k}", result.get(kind, {}).get(k)) for kind in _KINDS for k in ("AP", "AP50", "AP75"))
    return ", ".join(f"{k} {v:.2f}" for k, v in pairs if v is not None) or "nothing to score"


def _image_ids(batch: list[Example]) -> str:
    return f"images {[example.image_id for example in batch]}"


def _check_expected(expected: Sequence[Sequence[Any]], results: dict[str, Any]) -> None:
    """TEST.EXPECTED_RESULTS, [[task, metric, value, tolerance], ...], against every test set."""
    wrong = []
    for name, result in results.items():
        for task, metric, value, tolerance in expected:
            found = result.get(task, {}).get(metric)
            if found is None or abs(found - value) > tolerance:
                wrong.append(f"{name} {task} {metric}: {found}, expected {value} within {tolerance}")
    if wrong:
        raise DataError("the results are not TEST.EXPECTED_RESULTS:\n  " + "\n  ".join(wrong))
