"""Processes: torchrun's, or our own launch; ranks, reductions; identity when there is one process."""

from __future__ import annotations

import inspect
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from types import FrameType
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as td
import torch.multiprocessing as mp
from torch import Tensor, nn

from wsl_det.core import processes
from wsl_det.errors import ConfigError, WslError, first_line

T = TypeVar("T")
_TIMEOUT = timedelta(minutes=30)


def launch(
    fn: Callable[..., T],
    args: tuple[Any, ...] = (),
    *,
    num_gpus: int = 1,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    device: str = "cpu",
) -> T | None:
    """Run ``fn(*args)`` in every process of the job and return rank 0's result where it is known.

    Under torchrun this process joins the job that torchrun's environment describes; otherwise
    ``num_gpus`` processes are started here (gloo on the CPU, NCCL on GPUs). With one process
    ``fn`` simply runs. An error of ours in a child is raised again here with its text.
    """
    if processes.joined():
        if num_gpus * num_machines != 1:
            raise ConfigError("torchrun has started the processes; leave out --num-gpus and --num-machines")
        return _joined(fn, args, device)
    if num_gpus < 1 or num_machines < 1 or not 0 <= machine_rank < num_machines:
        raise ConfigError(
            f"--num-gpus {num_gpus} --num-machines {num_machines} --machine-rank {machine_rank}: "
            "counts start at 1 and the rank lies in 0..machines-1"
        )
    processes.refuse_strangers(num_machines)
    world = num_gpus * num_machines
    if world == 1:
        with _told():
            return fn(*args)
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"device {device} is for one process; {world} processes take cpu, or cuda for all")
    if device == "cuda" and torch.cuda.device_count() < num_gpus:
        raise ConfigError(f"--num-gpus is {num_gpus}, but this machine has {torch.cuda.device_count()} GPUs")
    address = _address(dist_url, num_machines)
    context = mp.get_context("spawn")
    failures = context.SimpleQueue()
    threads = max(1, torch.get_num_threads() // num_gpus)
    job = _Job(num_gpus, world, machine_rank, address, device, threads)
    spawned = (fn, args, job, failures)
    children = mp.start_processes(_child, spawned, nprocs=num_gpus, join=False, start_method="spawn")  # type: ignore[no-untyped-call]
    with _forwarding(children.pids()):
        _wait(children, failures)
    return None


def _wait(children: Any, failures: Any) -> None:
    try:
        while not children.join():
            pass
    except (mp.ProcessRaisedException, mp.ProcessExitedException) as error:
        killed = getattr(error, "signal_name", None)
        if killed is not None:
            raise WslError(
                f"process {error.error_index} of the job was killed by {killed} (SIGKILL is most often the "
                "kernel's, when memory is used up); the others were ended. Checkpoints are kept: --resume"
            ) from None
        if not failures.empty():
            kind, text = failures.get()
            raise kind(text) from error
        code = getattr(error, "exit_code", None)
        if code is not None and code - 128 in processes.ENDING:  # it has saved
            raise SystemExit(code) from error
        raise


def _forwarding(pids: list[int]) -> AbstractContextManager[None]:
    """Pass signals on to the children, who save at their next step; a second Ctrl-C ends them at once."""
    interrupts = 0

    def forward(number: int, frame: FrameType | None) -> None:
        nonlocal interrupts
        if number == signal.SIGINT:
            # A terminal gives the first to the children too: as SIGTERM it does not count twice.
            interrupts += 1
            number = signal.SIGTERM if interrupts == 1 else signal.SIGKILL
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    return processes.handling((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1), forward)


def _joined(fn: Callable[..., T], args: tuple[Any, ...], device: str) -> T:
    local = int(os.environ["LOCAL_RANK"])
    if device.startswith("cuda"):
        if torch.cuda.device_count() <= local:
            raise ConfigError(
                f"process {local} has no GPU: this machine shows {torch.cuda.device_count()} to torch; start "
                "as many processes, or put MODEL.DEVICE cpu on the command line"
            )
        torch.cuda.set_device(local)
    if int(os.environ["WORLD_SIZE"]) == 1:
        with _told():
            return fn(*args)
    # torchrun killed at one stroke leaves its workers: they save and end.
    processes.end_with_parent(os.getppid())
    td.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=_TIMEOUT)
    try:
        with _told():
            return fn(*args)
    finally:
        td.destroy_process_group()


class _Job(NamedTuple):
    num_gpus: int
    world: int
    machine_rank: int
    address: str
    device: str
    threads: int


def _child(local: int, fn: Callable[..., Any], args: tuple[Any, ...], job: _Job, failures: Any) -> None:
    rank_ = job.machine_rank * job.num_gpus + local
    os.environ.update(LOCAL_RANK=str(local), RANK=str(rank_), WORLD_SIZE=str(job.world))
    os.environ["LOCAL_WORLD_SIZE"] = str(job.num_gpus)
    torch.set_num_threads(job.threads)
    on_gpu = job.device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(local)
    backend = "nccl" if on_gpu else "gloo"
    try:
        _meet(job, backend, rank_)
        with _told():
            fn(*args)
        td.destroy_process_group()
    except WslError as error:
        failures.put((type(error), str(error)))
        raise


def _meet(job: _Job, backend: str, rank_: int) -> None:
    try:
        td.init_process_group(
            backend, init_method=job.address, rank=rank_, world_size=job.world, timeout=_TIMEOUT
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigError(
            f"--dist-url {job.address}: the processes cannot meet there ({first_line(error):.300}); give "
            "tcp://HOST:PORT of machine 0 with a free port, the same on every machine"
        ) from None


@contextmanager
def _told() -> Iterator[None]:
    """A GPU that is full, and what gloo and NCCL say when another process is gone, as one message."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise WslError(
            f"the GPU has no memory left ({first_line(error):.200}). Lower SOLVER.IMS_PER_BATCH, or what a "
            "step holds: in pretraining SOLVER.AMP bfloat16, MODEL.RECOMPUTE True, SOLVER.ACCUMULATE; in "
            "detection SOLVER.AMP.ENABLED True, INPUT.MIN_SIZE_TRAIN. Checkpoints are kept: --resume"
        ) from None
    except RuntimeError as error:
        if not isinstance(error, td.DistError) and "gloo" not in first_line(error):
            raise
        raise WslError(
            f"rank {rank()} lost the other processes of the job ({first_line(error):.200}): one ended "
            "first, see what it said. Checkpoints are kept: --resume"
        ) from None


def _address(dist_url: str, num_machines: int) -> str:
    if dist_url != "auto":
        found = re.fullmatch(r"tcp://(?:[^/:\[\]\s]+|\[[\da-fA-F:]+\]):(\d{1,5})/?", dist_url)
        if not (found and 0 < int(found[1]) < 1 << 16) and not dist_url.startswith(("file://", "env://")):
            raise ConfigError(f"--dist-url is {dist_url!r}; expected auto, or tcp://HOST:PORT of machine 0")
        return dist_url
    if num_machines > 1:
        raise ConfigError("--dist-url auto works on one machine; give tcp://HOST:PORT of machine 0")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def _active() -> bool:
    return td.is_available() and td.is_initialized()


def rank() -> int:
    """Rank of this process in the job; 0 alone."""
    return td.get_rank() if _active() else 0


def world_size() -> int:
    """Number of processes of the job; 1 alone."""
    return td.get_world_size() if _active() else 1


def local_rank() -> int:
    """Rank of this process on its machine; 0 alone."""
    return int(os.environ.get("LOCAL_RANK", "0")) if _active() else 0


def is_main() -> bool:
    """Whether this is the process that writes files and speaks."""
    return rank() == 0


def resumed(asked: bool) -> bool:
    """Whether the job continues a run: asked for, or torchrun started its workers anew after a failure.

    All ranks agree: a machine that comes back counts its own restarts, not those of the others.
    """
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    return any(all_gather_object(asked or restarts > 0))


def barrier() -> None:
    """Wait for every process; nothing to wait for alone."""
    if _active():
        td.barrier()


def all_reduce_mean(values: Mapping[str, float | Tensor]) -> dict[str, float]:
    """Mean over ranks of named scalars, in float64; every rank must bring the same names."""
    names = sorted(values)
    packed = torch.tensor([float(values[n]) for n in names], dtype=torch.float64)
    if _active():
        # NCCL takes nothing from the CPU.
        packed = packed.to(torch.device("cuda", local_rank()) if td.get_backend() == "nccl" else "cpu")
        td.all_reduce(packed)
        packed = (packed / world_size()).cpu()
    return dict(zip(names, packed.tolist(), strict=True))


def all_reduce_sum_(tensor: Tensor) -> Tensor:
    """Sum of ``tensor`` over ranks, in place; the tensor lies on the job's device."""
    if _active():
        td.all_reduce(tensor)
    return tensor


def all_gather_object(value: T) -> list[T]:
    """Every rank's ``value``, in rank order, on every rank; the values must be picklable."""
    if not _active():
        return [value]
    gathered: list[Any] = [None] * world_size()
    td.all_gather_object(gathered, value)
    return gathered


def everywhere(work: Callable[[], T]) -> list[T]:
    """What ``work`` gives on every rank, in rank order, on every rank; if it fails on one, it does on all."""
    if not _active():
        return [work()]
    mine: Any = None
    failure: Exception | None = None
    try:
        mine = work()
    except Exception as error:
        failure = error
    told = (type(failure) if isinstance(failure, WslError) else WslError, str(failure)) if failure else None
    gathered = all_gather_object((mine, told))
    if failure is not None:
        raise failure
    for kind, text in (told for _, told in gathered if told is not None):
        raise kind(text)
    return [value for value, _ in gathered]


def broadcast_object(value: T) -> T:
    """Rank 0's ``value`` on every rank."""
    box = [value]
    if _active():
        td.broadcast_object_list(box)
    return box[0]


def device(name: str, asked_by: str = "MODEL.DEVICE") -> torch.device:
    """The torch device of this rank for a config's MODEL.DEVICE, or a tool's flag.

    ConfigError names ``asked_by`` for a device that torch does not know or that is not here.
    """
    try:
        found = torch.device("cuda", local_rank()) if name == "cuda" else torch.device(name)
        if found.type == "meta":
            raise RuntimeError("it holds no numbers")
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ConfigError(
            f"{asked_by} {name} cannot be used here ({first_line(error):.200}); "
            f"put {asked_by} cpu on the command line"
        ) from None
    return found


def wrap(model: nn.Module, **options: Any) -> nn.Module:
    """``model`` under DistributedDataParallel, or itself when alone.

    Buffers are not broadcast: with True rank 0's BN statistics would overwrite everybody's.
    """
    if not _active():
        return model
    on_gpu = next(model.parameters()).is_cuda
    devices = [local_rank()] if on_gpu else None
    ddp = nn.parallel.DistributedDataParallel
    # torch 2.13 renamed the switch and warns about the old name.
    known = inspect.signature(ddp.__init__).parameters
    switch = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options[switch] = False
    return ddp(model, device_ids=devices, **options)


def gradients_kept(model: nn.Module, *, travel: bool) -> AbstractContextManager[None]:
    """A context whose backward adds to the gradients, and averages them over ranks only if ``travel``."""
    if travel or not isinstance(model, nn.parallel.DistributedDataParallel):
        return nullcontext()
    return model.no_sync()
