"""The only training loop; it knows neither hashtags nor boxes.

Data position and randomness are pure functions of the iteration, so a checkpoint needs only the
model, the optimiser, the scaler and the iteration to continue exactly.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from wsl_det.core import checkpoint, dist, log, processes
from wsl_det.core.checkpoint import RunFolder, Saver
from wsl_det.errors import CheckpointError, DataError, WslError, as_lines

Losses = Callable[[Any, int], Mapping[str, Tensor]]
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
# Settings that the learning rate of every step follows from.
_LENGTHS = ("SOLVER.MAX_ITER", "SOLVER.STEPS", "SOLVER.TOTAL_IMAGES")


class Stateful(Protocol):
    """Anything that travels in a checkpoint."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


@dataclass(frozen=True)
class Hook:
    """Something done every ``period`` iterations (and at the last one when ``at_end``)."""

    period: int
    call: Callable[[int], Mapping[str, float] | None]
    at_end: bool = False

    def due(self, iteration: int, max_iter: int) -> bool:
        last = iteration + 1 == max_iter
        return (self.at_end and last) or (self.period > 0 and (iteration + 1) % self.period == 0 and not last)


@dataclass
class Plan:
    """What a run needs besides model and data; every field is a plain value or a callable."""

    max_iter: int
    lr: Callable[[int], float]
    checkpoint_period: int = 0
    checkpoints_at: Collection[int] = ()  # and after so many iterations
    log_period: int = 20
    amp: str = "none"
    clip: Callable[[], Any] | None = None
    hooks: Sequence[Hook] = ()
    state: Mapping[str, Stateful] = field(default_factory=dict)
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    describe: Callable[[Any], str] = lambda batch: ""
    samples: Callable[[Any], int] = len
    # Equal parts of a batch that are run one after the other; their mean is the loss.
    pieces: Callable[[Any], Sequence[Any]] = lambda batch: (batch,)
    # Words and numbers of a batch that go into its record of metrics.jsonl beside the losses.
    note: Callable[[Any], Mapping[str, Any]] = lambda batch: {}
    # Called on every rank after each step of the optimiser, e.g. to follow the weights.
    after_step: Callable[[], None] = lambda: None
    # Called on every rank before a checkpoint is put together, e.g. to average BN statistics.
    before_save: Callable[[], None] = lambda: None


class Loop:
    """Steps ``model`` over ``batches`` until ``plan.max_iter``.

    ``losses(batch, iteration)`` returns named scalars: those whose name starts with "loss" are summed and
    minimised, the others are only written down; of more than one ``loss`` the sum is ``total_loss``.
    ``plan.lr(iteration)`` is a factor over the learning rates that the optimiser was built with.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        losses: Losses,
        optimizer: torch.optim.Optimizer,
        folder: RunFolder,
        metrics: log.MetricSink | None,
        plan: Plan,
    ) -> None:
        self.model, self.losses, self.optimizer = model, losses, optimizer
        self.folder, self.metrics, self.plan = folder, metrics, plan
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self.device = next(model.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=plan.amp == "float16")
        self._heard: set[int] = set()  # by this process, since all of them last agreed
        self._agreed: set[int] = set()  # by any process, before the step under way was over
        self._saver = Saver(folder)
        self._start = 0
        self._recent: deque[tuple[float, float]] = deque(maxlen=20)

    def resume(self) -> int:
        """Restore the newest checkpoint; the iteration to go on with, 0 when there is none."""
        saved = self.folder.load_latest()
        if saved is None:
            log.get("loop").info("no checkpoint in %s: starting from the beginning", self.folder.path)
            return 0
        return self._go_on(saved, self.folder.path)

    def branch(self, path: str, at: int, free: Collection[str]) -> None:
        """Restore a checkpoint after ``at`` iterations of a run that only settings in ``free`` tell apart."""
        start = self._go_on(checkpoint.load_weights(path), Path(path).parent, free)
        if start != at:
            raise CheckpointError(f"{path} holds iteration {start - 1}, its name says another; rename it")

    def _go_on(self, saved: Mapping[str, Any], where: Path, free: Collection[str] = ()) -> int:
        try:
            self._check_fingerprint(dict(saved.get("fingerprint", {})), where, free)
            self._restore(saved)
            start = int(saved["iteration"]) + 1
        except torch.OutOfMemoryError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(
                f"{where}: checkpoint {saved.get('iteration')} is not one of this run "
                f"({str(error)[:200]}); move it away to go on from the one before it"
            ) from None
        log.get("loop").info("continuing %s at iteration %d", where, start)
        return start

    def _restore(self, saved: Mapping[str, Any]) -> None:
        _bare(self.model).load_state_dict(saved["model"])
        self._load_buffers(saved.get("rank_buffers"))
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        for name, part in self.plan.state.items():
            part.load_state_dict(saved["state"][name])

    def run(self, batches: Iterator[Any], start: int = 0) -> None:
        """Train from iteration ``start``; ``batches`` begins with the batch of that iteration.

        Records of ``start`` and after, of a run that was killed, are forgotten. Raises DataError for a
        non-finite loss. On SIGTERM, SIGHUP and Ctrl-C a checkpoint is written after the step and the
        process ends with 128 + the signal's number; a second Ctrl-C ends at once; SIGUSR1 writes one
        and goes on. However it ends, a checkpoint that was begun is finished first.
        """
        self.model.train()
        self._start = start
        if self.metrics is not None:
            self.metrics.rewind(start)
        try:
            with (
                log.bar(self.plan.max_iter, start, "training", dist.is_main()) as self._bar,
                processes.listening(self._heard, speaks=dist.is_main()),
            ):
                if start > 0:
                    self._catch_up(start - 1)
                for iteration in range(start, self.plan.max_iter):
                    self._iterate(batches, iteration)
                self._agreed = set().union(*dist.all_gather_object(set(self._heard)))
                self._end_if_told()
        except KeyboardInterrupt:
            self._saver.wait()
            log.get("loop").info("ended at once; %s", self._newest())
            raise
        finally:
            if self.metrics is not None:
                self.metrics.close()
            self._saver.wait()

    def _iterate(self, batches: Iterator[Any], iteration: int) -> None:
        plan, began = self.plan, time.perf_counter()
        batch = self._next(batches, iteration)
        waited = time.perf_counter() - began
        factor = plan.lr(iteration)
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * factor
        values = self._step(batch, iteration)
        record = {
            "iteration": iteration,
            **values,
            **plan.note(batch),
            "lr": self.optimizer.param_groups[0]["lr"],
            "time": time.perf_counter() - began,
            "data_time": waited,
        }
        self._tell(record, plan.samples(batch))
        self._boundary(iteration)

    def _next(self, batches: Iterator[Any], iteration: int) -> Any:
        """The next batch; when there is none for bad files or a dead loader, what was learned is kept."""
        try:
            return next(batches)
        except DataError:
            # Of several processes this one alone knows, and a checkpoint is all of theirs.
            if dist.world_size() == 1 and iteration > self._start:
                self.save(iteration - 1)
                self._saver.wait()
                log.get("loop").info("%s", self._newest())
            raise

    def _step(self, batch: Any, iteration: int) -> dict[str, float]:
        self.optimizer.zero_grad(set_to_none=True)
        pieces = self.plan.pieces(batch)
        values: dict[str, float] = {}
        for number, piece in enumerate(pieces, 1):
            # Between processes the gradients travel once, with the last piece.
            with dist.gradients_kept(self.model, travel=number == len(pieces)):
                named = self._backward(piece, iteration, 1 / len(pieces))
            # One copy from the device: each would wait for the whole step.
            told = torch.stack([value.detach().double() for value in named.values()]).tolist()
            for name, value in zip(named, told, strict=True):
                values[name] = values.get(name, 0.0) + value / len(pieces)
        values = self._agree(values, batch, iteration)
        if self.plan.clip is not None:
            self.scaler.unscale_(self.optimizer)
            self.plan.clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.plan.after_step()
        return values

    def _backward(self, batch: Any, iteration: int, share: float) -> dict[str, Tensor]:
        with torch.autocast(
            self.device.type, dtype=_DTYPES.get(self.plan.amp), enabled=self.plan.amp in _DTYPES
        ):
            named = self.losses(batch, iteration)
        parts = {k: v for k, v in named.items() if k.startswith("loss")}
        total = sum(parts.values(), torch.zeros((), device=self.device))
        # Backward comes before the check, so that ranks stay in step until all of them know.
        self.scaler.scale(total * share).backward()
        return dict(named) if parts.keys() == {"loss"} else {"total_loss": total, **named}

    def _agree(self, values: dict[str, float], batch: Any, iteration: int) -> dict[str, float]:
        """Mean of the values over ranks, and the signals that any rank has received.

        A rank must not act on one that it hears later: the others would wait for it in the next step.
        """
        heard = self._agreed = set(self._heard)
        self._heard -= heard
        finite = all(v - v == 0 for k, v in values.items() if k.startswith(("loss", "total_loss")))
        told = {f"_sig{s}": float(s in heard) for s in processes.ALL}
        mean = dist.all_reduce_mean({**values, **told, "_bad": float(not finite)})
        self._agreed = {s for s in processes.ALL if mean[f"_sig{s}"] > 0}
        if mean["_bad"] > 0:
            seen = "" if finite else f" of {self.plan.describe(batch)}"
            parts = ", ".join(f"{k} {v:.4g}" for k, v in values.items())
            raise DataError(
                f"the loss is not finite at iteration {iteration} (rank {dist.rank()}{seen}): {parts}; lower "
                "the learning rate, lengthen the warm-up or clip gradients. The last checkpoint is untouched."
            )
        return {k: mean[k] for k in values}

    def _tell(self, record: dict[str, Any], samples: int) -> None:
        if self.metrics is not None:
            self.metrics.write(record)
        self._recent.append((record["total_loss" if "total_loss" in record else "loss"], record["time"]))
        self._bar.set_postfix_str(f"loss {self._recent[-1][0]:.4f}", refresh=False)
        self._bar.update()
        iteration = record["iteration"]
        if (iteration + 1) % self.plan.log_period and iteration + 1 != self.plan.max_iter:
            return
        loss = statistics.median(x for x, _ in self._recent)
        seconds = statistics.mean(t for _, t in self._recent)
        left = seconds * (self.plan.max_iter - iteration - 1)
        log.get("loop").info(
            "iteration %d/%d  loss %.4f  lr %.5g  %.3f s/it (%.0f%% waiting for data)  %.1f img/s  %s left%s",
            iteration + 1,
            self.plan.max_iter,
            loss,
            record["lr"],
            seconds,
            100 * record["data_time"] / max(record["time"], 1e-9),
            samples * dist.world_size() / max(seconds, 1e-9),
            timedelta(seconds=round(left)),
            _memory(self.device),
        )

    def _boundary(self, iteration: int) -> None:
        """Checkpoint, hooks and signals; the state is consistent only here, between two steps."""
        plan = self.plan
        last = iteration + 1 == plan.max_iter
        period = plan.checkpoint_period
        due = (period > 0 and (iteration + 1) % period == 0) or iteration + 1 in plan.checkpoints_at
        if self._agreed or last or due:
            self.save(iteration)
        self._end_if_told()
        self._call_hooks(iteration)

    def _end_if_told(self) -> None:
        told = next((number for number in processes.ENDING if number in self._agreed), None)
        if told is not None:
            self._saver.wait()
            log.get("loop").info("%s: %s", processes.ENDING[told], self._newest())
            raise SystemExit(128 + told)

    def _newest(self) -> str:
        found = self.folder.latest()
        return f"saved at iteration {found[0]}; continue with --resume" if found else "no checkpoint yet"

    def _call_hooks(self, iteration: int) -> None:
        """What is due now; a hook that fails, on all ranks alike, is reported, and training goes on."""
        for hook in self.plan.hooks:
            if hook.due(iteration, self.plan.max_iter):
                try:
                    found = hook.call(iteration)
                except Exception as error:  # a training of days must not end by its evaluation
                    foreign = not isinstance(error, WslError | OSError)
                    words = "what was to be done after iteration %d failed; training goes on: %s"
                    log.get("loop").warning(words, iteration, error, exc_info=foreign)
                    found = None
                self.model.train()
                if found and self.metrics is not None:
                    self.metrics.write({"iteration": iteration, **found})

    def _catch_up(self, iteration: int) -> None:
        """The hooks of a checkpoint's own iteration, when its run was killed before they had written."""
        written = self.metrics is not None and self.metrics.holds_hooks(iteration)
        if not dist.broadcast_object(written):
            self._call_hooks(iteration)

    def save(self, iteration: int) -> None:
        """Begin to write the checkpoint of a finished iteration; a full disk is reported and survived."""
        self.plan.before_save()
        buffers = dist.all_gather_object(_statistics(self.model)) if dist.world_size() > 1 else None
        if not dist.is_main():
            return
        if self.metrics is not None:
            self.metrics.flush()
        state = {
            "model": _bare(self.model).state_dict(),
            "rank_buffers": buffers,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "state": {name: part.state_dict() for name, part in self.plan.state.items()},
            "fingerprint": dict(self.plan.fingerprint),
        }
        self._saver.save(iteration, state)

    def _check_fingerprint(self, saved: Mapping[str, Any], where: Path, free: Collection[str]) -> None:
        now = dict(self.plan.fingerprint)
        changed = [
            f"{k}: {saved.get(k)!r} then, {now.get(k)!r} now"
            for k in sorted({*saved, *now})
            if saved.get(k) != now.get(k) and k not in free
        ]
        if changed:
            longer = any(line.startswith(_LENGTHS) for line in changed)
            why = "\nA run's length is in the learning rate of every step: it cannot be changed on the way"
            raise CheckpointError(
                f"{where} holds a run with other settings; use those, or another OUTPUT_DIR:"
                f"{as_lines(changed, len(changed))}{why if longer else ''}"
            )

    def _load_buffers(self, saved: list[dict[str, Tensor]] | None) -> None:
        """Each rank's own BN statistics, when the run had as many ranks as now."""
        if saved is not None and len(saved) == dist.world_size():
            own = dict(_bare(self.model).named_buffers())
            for name, value in saved[dist.rank()].items():
                own[name].copy_(value)


def _bare(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def _statistics(model: nn.Module) -> dict[str, Tensor]:
    kept = _bare(model).state_dict()
    return {k: v.detach().cpu() for k, v in _bare(model).named_buffers() if k in kept}


def _memory(device: torch.device) -> str:
    return f"  {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB" if device.type == "cuda" else ""
