"""train_net's job: a config to a trained detector, its predictions and its results."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
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
from wsl_det.detector import coco_records, datasets, infer, loader, pictures, settings, solver, weights
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
        run_.fit(records, train_sets, optimizer, rate)
        return run_.finish(train_sets)


def _evaluate_only(job: Job) -> dict[str, Any]:
    cfg = job.cfg
    settings.check(cfg)
    if job.resume and (latest := RunFolder(cfg.OUTPUT_DIR).latest()):
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
    ) -> None:
        """Train to SOLVER.MAX_ITER, from the beginning or from the last checkpoint."""
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

    def finish(self, train_sets: Sequence[CocoDataset]) -> dict[str, Any]:
        """Write model_final.pth, then predictions and results of every test set."""
        path = self.folder.path / FINAL
        dist.everywhere(lambda: dist.is_main() and self.folder.save_final(self._payload(train_sets)))
        trained = Start("detector", str(path), files.sha256(path), self.start.backbone)
        try:
            return self.test_finally(trained)
        except (WslError, OSError) as error:
            raise DataError(
                f"{error}\nThe training is done and kept in {path}: mend this and give the same command "
                "with --resume, which only detects and evaluates"
            ) from error

    def test_finally(self, start: Start) -> dict[str, Any]:
        """``test`` into OUTPUT_DIR, and what TEST.EXPECTED_RESULTS expects."""
        results = self.test(start, self.folder.path)
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
            log.get("train").info("%s: %s", dataset.name, _shown(_scores(result)))

    def _evaluate_meanwhile(self, iteration: int) -> dict[str, float]:
        found = self.test(Start("detector"), self.folder.path / "inference")
        several = len(found) > 1
        pairs = ((f"{name}/" if several else "", _scores(result)) for name, result in found.items())
        return {f"{prefix}{key}": value for prefix, scores in pairs for key, value in scores.items()}

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


def _scores(result: dict[str, Any]) -> dict[str, float]:
    """The defined headline numbers of a results.json as {"bbox/AP": ...}, Detectron2's names for them."""
    pairs = ((kind, metric) for kind in ("bbox", "segm") for metric in ("AP", "AP50", "AP75"))
    found = {f"{kind}/{metric}": result.get(kind, {}).get(metric) for kind, metric in pairs}
    return {key: value for key, value in found.items() if value is not None}


def _shown(scores: dict[str, float]) -> str:
    return ", ".join(f"{key} {value:.2f}" for key, value in scores.items()) or "nothing to score"


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
