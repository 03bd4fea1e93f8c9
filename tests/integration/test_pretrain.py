"""tools/pretrain_net.py as people use it: a whole run, bad input, kills and resumes, two processes."""

from __future__ import annotations

import importlib.util
import io
import json
import multiprocessing
import os
import random
import signal
import tarfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import shard_folders
import torch

from pretrain.posts import records as posts
from pretrain.shards import adopt as shard_indexer
from pretrain.shards import index
from pretrain.training import model
from wsl_det import errors
from wsl_det.core import files, seed

ROOT = Path(__file__).parents[2]
NAMES = ("crane", "daisy", "pizza", "zebra", "acorn")
# Two BN groups of 4 a step, 12 updates over about two epochs.
TINY = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BLOCKS": "[1,1,1,1]",
    "MODEL.GROUPS": 2,
    "MODEL.WIDTH_PER_GROUP": 4,
    "MODEL.RES2_CHANNELS": 16,
    "MODEL.BN_GROUP": 4,
    "INPUT.SIZE": 32,
    "INPUT.TEST_RESIZE": 32,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.TOTAL_IMAGES": 96,
    "SOLVER.BASE_LR": 1.6,  # 0.05 for 8 images: weights must move for a comparison to mean something
    "SOLVER.WARMUP_UPDATES": 3,
    "SOLVER.CHECKPOINT_PERIOD": 3,
    "DATA.HELDOUT": 0.2,
    "DATA.NUM_THREADS": 1,
    "LOG_PERIOD": 4,
}
UPDATES = 12
SHORT = {"SOLVER.TOTAL_IMAGES": 32}


def _main() -> Callable[[list[str]], int]:
    spec = importlib.util.spec_from_file_location("pretrain_net", ROOT / "tools" / "pretrain_net.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 generated photos with one or two of five tags."""
    work = tmp_path_factory.mktemp("posts")
    rng, lines = np.random.default_rng(0), []
    (work / "images").mkdir()
    for i in range(48):
        colour = np.full((40, 48, 3), 40 * (i % 5), np.uint8) + rng.integers(0, 40, (40, 48, 3), np.uint8)
        (work / f"images/{i}.jpg").write_bytes(cv2.imencode(".jpg", colour)[1].tobytes())
        tags = [NAMES[i % 5], *([NAMES[i % 3]] if i % 4 == 0 else [])]
        lines.append({"id": f"p{i}", "image": f"{i}.jpg", "caption": " ".join(f"#{t}" for t in tags)})
    shard_folders.write_lines(work / "posts.jsonl", lines)
    return shard_folders.build(work, shard_folders.vocabulary(work / "vocab.json", NAMES))


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    tree: dict = {}
    for key, value in TINY.items():
        section, _, leaf = key.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[leaf] = value
    path.write_text(json.dumps(tree))  # JSON is YAML
    return path


class Pretrain:
    """The tool on the tiny config, in this process or in one that dies."""

    def __init__(self, config: Path, shards: Path) -> None:
        self.config, self.shards = config, shards

    def argv(self, output: Path, *words: object, **overrides: object) -> list[str]:
        pairs = {"DATA.SHARDS": self.shards, "OUTPUT_DIR": output, **overrides}
        argv = ["--config-file", str(self.config), *map(str, words)]
        return argv + [str(x) for pair in pairs.items() for x in pair if pair[1] is not None]

    def __call__(self, output: Path, *words: object, **overrides: object) -> int:
        """Exit code; an error of ours is printed as the tool prints it."""
        return errors.run(_main(), self.argv(output, *words, **overrides))

    def start(self, plant: Callable[[], None], output: Path, *words: object) -> multiprocessing.Process:
        """The tool in a process of its own, in which ``plant`` has laid the reason of its death."""
        process = FORKS.Process(target=_run_planted, args=(plant, self.argv(output, *words)))
        process.start()
        return process

    def killed(self, plant: Callable[[], None], output: Path, *words: object) -> int:
        """Exit code of a run that ``plant`` kills."""
        process = self.start(plant, output, *words)
        process.join()
        assert process.exitcode is not None
        return process.exitcode


# A server that has imported everything and started nothing: its children begin at once, and no
# thread of torch's is lost in the fork.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pretrain.training.train", "timm.models.resnet", "torch.utils.tensorboard"])


def _run_planted(plant: Callable[[], None], argv: list[str]) -> None:
    plant()
    os._exit(errors.run(_main(), argv))


@pytest.fixture(scope="session")
def pretrain(config: Path, shards: Path) -> Pretrain:
    return Pretrain(config, shards)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "model_final.pth", weights_only=True)["model"]


def records(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def assert_same_run(found: Path, want: Path) -> None:
    ours, theirs = weights(found), weights(want)
    assert ours.keys() == theirs.keys()
    assert [k for k in ours if not torch.equal(ours[k], theirs[k])] == []
    keep = ("iteration", "loss", "stream", "epoch", "lr")
    assert [{k: r[k] for k in keep} for r in records(found)] == [
        {k: r[k] for k in keep} for r in records(want)
    ]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, pretrain: Pretrain) -> Path:
    output = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert pretrain(output) == 0
    return output


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory, pretrain: Pretrain) -> Path:
    """Four updates: BN over four images doubles a float32 rounding several times in each."""
    output = tmp_path_factory.mktemp("runs") / "short"
    assert pretrain(output, **SHORT) == 0
    return output


def test_a_run_leaves_what_the_next_stage_needs(undisturbed: Path) -> None:
    names = {p.name for p in undisturbed.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "model_final.pth", "results.json", "log.txt"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    saved = torch.load(undisturbed / "model_final.pth", weights_only=True)
    assert {"conv1.weight", "bn1.running_mean", "layer4.0.bn3.weight", "fc.bias"} <= saved["model"].keys()
    about = saved["wsl_det"]
    assert about["arch"] == {
        "depth": 101,
        "blocks": [1, 1, 1, 1],
        "groups": 2,
        "width_per_group": 4,
        "res2_channels": 16,
        "stem_channels": 64,
    }
    assert (about["channel_order"], about["stride_in_1x1"]) == ("RGB", False)
    assert about["pixel_mean"] == [123.675, 116.28, 103.53]
    assert len(about["vocabulary"]) == 64 and about["dataset"].startswith("train-")
    lines = records(undisturbed)
    assert [r["iteration"] for r in lines] == list(range(UPDATES))
    assert all(r["kl"] <= r["loss"] and r["skipped"] == 0 and "total_loss" not in r for r in lines)
    last = json.loads((undisturbed / "metrics.jsonl").read_text().splitlines()[-1])
    assert len({r["stream"] for r in lines}) == UPDATES
    results = files.read_json(undisturbed / "results.json")
    assert results["recall"]["heldout_images"] > 3
    assert last["iteration"] == UPDATES - 1 and last.items() >= results["recall"].items()
    assert results["recall"]["recall_any@5"] == results["constant_guess"]["recall_any@5"] == 100


def test_nothing_but_shards_and_a_folder_is_needed(shards: Path, tmp_path: Path) -> None:
    shipped = ROOT / "configs" / "quick" / "pretrain_tiny.yaml"
    argv = ["--config-file", str(shipped), "DATA.SHARDS", str(shards), "OUTPUT_DIR", str(tmp_path / "run")]
    assert errors.run(_main(), [*argv, "SOLVER.TOTAL_IMAGES", "48"]) == 0
    assert (tmp_path / "run" / "model_final.pth").exists()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"DATA.SHARDS": None}, ["DATA.SHARDS is not set", "build_shards"]),
        ({"DATA.SHARDS": "/nowhere/shards"}, ["/nowhere/shards does not exist", "build_shards"]),
        ({"DATA.SHARDS": ROOT / "configs"}, ["dataset.json"]),
        ({"OUTPUT_DIR": None}, ["OUTPUT_DIR is not set"]),
        ({"SOLVER.BASE_LEARNING_RATE": 1}, ["unknown key SOLVER.BASE_LEARNING_RATE", "did you mean"]),
        ({"SOLVER.IMS_PER_BATCH": "many"}, ["SOLVER.IMS_PER_BATCH is 'many'", "expected a int"]),
        ({"SOLVER.IMS_PER_BATCH": 10}, ["not a multiple of MODEL.BN_GROUP 4", "8, 12"]),
        ({"DATA.RESAMPLE": "cubic"}, ["DATA.RESAMPLE", "natural, sqrt or uniform"]),
        ({"MODEL.DEVICE": "cuda"}, ["MODEL.DEVICE cuda cannot be used here", "MODEL.DEVICE cpu"]),
        ({"SOLVER.ACCUMULATE": 3}, ["does not divide the 2 BN groups"]),
        ({"SOLVER.AMP": "int8"}, ["none, bfloat16 or float16"]),
        ({"SOLVER.EMA_DECAY": 1.5}, ["SOLVER.EMA_DECAY is 1.5"]),
        ({"SOLVER.MILESTONE_PERIOD": 4}, ["no multiple of CHECKPOINT_PERIOD 3"]),
        ({"MODEL.DEPTH": 99, "MODEL.BLOCKS": "[]"}, ["MODEL.DEPTH is 99"]),
    ],
)
def test_bad_settings_get_one_message_and_leave_nothing(
    overrides: dict,
    words: list[str],
    pretrain: Pretrain,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    if "MODEL.DEVICE" in overrides and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    output = tmp_path / "run"
    assert pretrain(output, **overrides) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert said.count("error:") == 1
    assert not output.exists()


def test_world_size_that_does_not_divide_is_refused_before_starting(
    pretrain: Pretrain, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert pretrain(tmp_path / "run", "--num-gpus", 4) == 2
    assert "4 processes cannot share 2 BN groups" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_folder_with_another_run_is_refused(
    undisturbed: Path, pretrain: Pretrain, capsys: pytest.CaptureFixture
) -> None:
    before = weights(undisturbed)
    assert pretrain(undisturbed) == 2
    assert "already holds" in capsys.readouterr().err
    assert pretrain(undisturbed, "--resume", **{"SOLVER.BASE_LR": 0.5}) in (0, 2)
    after = weights(undisturbed)
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_resume_with_other_settings_names_them(
    pretrain: Pretrain, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert pretrain.killed(partial(at_update, 7), tmp_path / "run") == -signal.SIGKILL
    assert pretrain(tmp_path / "run", "--resume", **{"SOLVER.BASE_LR": 0.5, "DATA.NUM_THREADS": 2}) == 2
    said = capsys.readouterr().err
    assert "SOLVER.BASE_LR: 1.6 then, 0.5 now" in said and "NUM_THREADS" not in said
    assert "BASE_LR: 1.6" in (tmp_path / "run" / "config.yaml").read_text()


def test_resume_without_a_checkpoint_starts_over_and_says_so(
    undisturbed: Path, pretrain: Pretrain, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    # Killed before the first checkpoint: config, log and metrics of two updates are there.
    assert pretrain.killed(partial(at_update, 2), tmp_path / "run") == -signal.SIGKILL
    assert len(records(tmp_path / "run")) == 2
    assert pretrain(tmp_path / "run", "--resume") == 0
    assert "starting from the beginning" in capsys.readouterr().err
    assert_same_run(tmp_path / "run", undisturbed)


def test_resume_of_a_finished_run_changes_nothing(
    undisturbed: Path, pretrain: Pretrain, capsys: pytest.CaptureFixture
) -> None:
    stamp = (undisturbed / "model_final.pth").stat().st_mtime_ns
    assert pretrain(undisturbed, "--resume") == 0
    assert "is finished" in capsys.readouterr().err
    assert (undisturbed / "model_final.pth").stat().st_mtime_ns == stamp


def test_a_loss_that_is_not_finite_names_step_and_keys(
    pretrain: Pretrain, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert pretrain(tmp_path / "run", **{"SOLVER.BASE_LR": 1e30}) == 2
    said = capsys.readouterr().err
    assert "not finite at iteration" in said and "images p" in said
    assert not (tmp_path / "run" / "model_final.pth").exists()


def test_accumulation_gives_the_same_weights(short: Path, pretrain: Pretrain, tmp_path: Path) -> None:
    assert pretrain(tmp_path / "run", **SHORT, **{"SOLVER.ACCUMULATE": 2}) == 0
    assert_close_runs(tmp_path / "run", short)


def assert_close_runs(found: Path, want: Path) -> None:
    """Equal streams, and the same way through weight space but for the order of float32 sums."""
    for ours, theirs in zip(records(found), records(want), strict=True):
        assert ours["stream"] == theirs["stream"]
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
    arch = model.make_arch(depth=101, groups=2, width_per_group=4, res2_channels=16, blocks=(1, 1, 1, 1))
    start = model.make(arch, len(NAMES), seed.generator("weights", 0)).state_dict()
    a, b = weights(found), weights(want)
    for kind in ("running_mean", "running_var", "weight", "bias"):
        names = [k for k in b if k.endswith(kind)]
        way, gap = (
            torch.cat([(x[k] - y[k]).flatten() for k in names]).norm() for x, y in ((b, start), (a, b))
        )
        assert gap < 0.01 * way, f"{kind}: {gap:.3g} apart after a way of {way:.3g}"


def test_two_processes_train_the_same_model(pretrain: Pretrain, tmp_path: Path) -> None:
    """Same global batches and BN groups, gradients averaged, BN statistics of both in the file.

    Each process takes its two groups one after the other, so gradients are also added up before
    they travel.
    """
    wide = {**SHORT, "SOLVER.IMS_PER_BATCH": 16, "SOLVER.TOTAL_IMAGES": 48}
    assert pretrain(tmp_path / "one", **wide) == 0
    assert pretrain(tmp_path / "two", "--num-gpus", 2, **wide, **{"SOLVER.ACCUMULATE": 2}) == 0
    assert_close_runs(tmp_path / "two", tmp_path / "one")
    results = [files.read_json(tmp_path / run / "results.json")["recall"] for run in ("one", "two")]
    assert results[0]["heldout_images"] == results[1]["heldout_images"]


@pytest.mark.slow
def test_resume_with_another_number_of_processes(
    undisturbed: Path, pretrain: Pretrain, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert pretrain.killed(partial(at_update, 10), run) == -signal.SIGKILL
    assert pretrain(run, "--resume", "--num-gpus", 2) == 0
    assert_close_runs(run, undisturbed)


@pytest.mark.slow
def test_two_processes_killed_and_resumed_are_the_same_run(pretrain: Pretrain, tmp_path: Path) -> None:
    """SIGKILL of one process takes the job down; the other does not hang, and nothing is lost."""
    assert pretrain(tmp_path / "whole", "--num-gpus", 2) == 0
    run = tmp_path / "run"
    assert pretrain.killed(partial(one_rank_dies, 7), run, "--num-gpus", 2) != 0
    assert (run / "model_0000005.pth").exists() and len(records(run)) == 7
    assert not (run / "model_final.pth").exists()
    assert pretrain(run, "--resume", "--num-gpus", 2) == 0
    assert_same_run(run, tmp_path / "whole")


@pytest.mark.parametrize(
    ("switch", "tolerance"),
    [
        # The same float32 sums in another order.
        ({"MODEL.CHANNELS_LAST": True}, 1e-5),
        # bfloat16 has 8 bits: a rounding of 0.4% in each layer of a first forward.
        ({"SOLVER.AMP": "bfloat16"}, 2e-2),
        ({"SOLVER.AMP": "bfloat16", "MODEL.CHANNELS_LAST": True}, 2e-2),
        ({"SOLVER.FUSED": True}, 1e-5),
        ({"SOLVER.AMP": "float16"}, 5e-3),  # 11 bits, and a scaled loss
        pytest.param(
            {"MODEL.COMPILE": True},
            1e-4,  # fused kernels sum in their own order
            marks=[pytest.mark.slow, pytest.mark.timeout(900)],
        ),
    ],
    ids=["channels last", "bfloat16", "both", "fused", "float16", "compiled"],
)
def test_switches_for_speed_give_the_same_losses(
    switch: dict, tolerance: float, short: Path, pretrain: Pretrain, tmp_path: Path
) -> None:
    assert pretrain(tmp_path / "run", **SHORT, **switch) == 0
    ours, theirs = records(tmp_path / "run"), records(short)
    assert [r["stream"] for r in ours] == [r["stream"] for r in theirs]
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=tolerance)
    saved = weights(tmp_path / "run")
    assert all(v.dtype in (torch.float32, torch.int64) and v.is_contiguous() for v in saved.values())


def test_the_scale_of_half_precision_travels_in_checkpoints(pretrain: Pretrain, tmp_path: Path) -> None:
    """Killed and resumed, a float16 run goes on with its own scale, to the same weights."""
    half = ("SOLVER.TOTAL_IMAGES", 32, "SOLVER.AMP", "float16", "SOLVER.CHECKPOINT_PERIOD", 2)
    assert pretrain(tmp_path / "whole", *half) == 0
    run = tmp_path / "run"
    assert pretrain.killed(partial(at_update, 3), run, *half) == -signal.SIGKILL
    saved = torch.load(run / "model_0000001.pth", weights_only=True)
    assert saved["scaler"]["scale"] > 1 and saved["scaler"]["_growth_tracker"] == 2
    assert pretrain(run, "--resume", *half) == 0
    assert_same_run(run, tmp_path / "whole")


def test_recomputing_gives_the_same_run(undisturbed: Path, pretrain: Pretrain, tmp_path: Path) -> None:
    assert pretrain(tmp_path / "run", **{"MODEL.RECOMPUTE": True}) == 0
    assert_same_run(tmp_path / "run", undisturbed)


def test_averaged_weights_are_exported_and_resume_exactly(
    undisturbed: Path, pretrain: Pretrain, tmp_path: Path
) -> None:
    """Killed after its last update and resumed: the averages come from the checkpoint."""
    decay = ("SOLVER.EMA_DECAY", "0.5")
    assert pretrain(tmp_path / "whole", *decay) == 0
    run = tmp_path / "run"
    assert pretrain.killed(partial(at_update, 7), run, *decay) == -signal.SIGKILL
    assert pretrain(run, "--resume", *decay) == 0
    assert_same_run(run, tmp_path / "whole")
    # Training itself is not touched by the average, and what is exported is not the last weights.
    assert records(run)[-1]["loss"] == records(undisturbed)[-1]["loss"]
    last = torch.load(run / f"model_{UPDATES - 1:07d}.pth", weights_only=True)
    ours, name = weights(run), "fc.weight"
    assert torch.equal(last["model"][name], weights(undisturbed)[name])
    assert torch.equal(last["state"]["average"][name], ours[name])
    assert not torch.equal(ours[name], weights(undisturbed)[name])
    assert torch.load(run / "model_final.pth", weights_only=True)["wsl_det"]["ema_decay"] == 0.5


def test_milestones_are_kept_for_good(pretrain: Pretrain, tmp_path: Path) -> None:
    kept = {"SOLVER.CHECKPOINTS_KEPT": 1, "SOLVER.MILESTONE_PERIOD": 6}
    assert pretrain(tmp_path / "run", **kept) == 0
    found = sorted(p.name for p in (tmp_path / "run").glob("model_0*.pth"))
    assert found == ["model_0000005.pth", "model_0000011.pth"]


def test_the_plan_starts_nothing(
    pretrain: Pretrain, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert pretrain(tmp_path / "run") == 2
    assert "srun started 2 processes" in capsys.readouterr().err
    words = ("--plan", "--num-gpus", 2, "--images-per-second", 2)
    assert pretrain(tmp_path / "run", *words, OUTPUT_DIR="") == 0  # a plan writes nothing, and needs no place
    said = capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    for part in (
        "38 images to train on, 10 held out, 5 classes",
        "8 images = 2 BN groups of 4; 2 processes of 4 images (1 groups)",
        "same batches with 1, 2 processes",
        "updates     12 (96 draws)",
        "peak 0.05",
        "resnext101_2x4d: 64,645 parameters",
        "0.0 hours at 2 images/s",
    ):
        assert part in said, said


STUDY = {"DATA.LABEL_NOISE": 0.3, "DATA.SUBSET": 0.7, "DATA.RESAMPLE": "uniform"}


def test_noise_and_subset_are_part_of_the_run(
    undisturbed: Path, pretrain: Pretrain, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Told before training, in the stream's name, kept by a resume, and the held-out posts stay."""
    overrides = {**STUDY, "SOLVER.TOTAL_IMAGES": 24, "SOLVER.CHECKPOINT_PERIOD": 1}
    assert pretrain(tmp_path / "plan", "--plan", **overrides) == 0
    told = capsys.readouterr().out
    assert (
        "subset 0.7 of the posts; label noise 0.3" in told and "* uniform" in told and "rarest half" in told
    )
    assert pretrain(tmp_path / "a", **overrides) == 0
    said = capsys.readouterr().err
    assert "label noise 0.3" in said and "* uniform" in said
    found = records(tmp_path / "a")
    assert {r["stream"] for r in found}.isdisjoint(r["stream"] for r in records(undisturbed))
    held = [
        files.read_json(run / "results.json")["recall"]["heldout_images"]
        for run in (tmp_path / "a", undisturbed)
    ]
    assert held[0] == held[1]
    words = [f"{key} {value}" for key, value in STUDY.items()]
    assert (
        pretrain.killed(
            partial(at_update, 2),
            tmp_path / "b",
            *" ".join(words).split(),
            "SOLVER.TOTAL_IMAGES",
            24,
            "SOLVER.CHECKPOINT_PERIOD",
            1,
        )
        == -signal.SIGKILL
    )
    assert pretrain(tmp_path / "b", "--resume", **{**overrides, "DATA.LABEL_NOISE": 0.2}) == 2
    assert "DATA.LABEL_NOISE: 0.3 then, 0.2 now" in capsys.readouterr().err
    assert pretrain(tmp_path / "b", "--resume", **overrides) == 0
    assert_same_run(tmp_path / "b", tmp_path / "a")


def test_foreign_shards_train_as_our_own(
    shards: Path, short: Path, pretrain: Pretrain, tmp_path: Path
) -> None:
    """The same samples in tars that somebody else wrote, indexed where they lie: the same run."""
    own = index.open_index(shards)
    tar_path = tmp_path / "theirs/00000.tar"
    tar_path.parent.mkdir()
    with tarfile.open(tar_path, "w", format=tarfile.PAX_FORMAT) as tar:
        for i in range(len(own)):
            tags = " ".join(f"#{NAMES[label]}" for label in own.labels(i))
            note = json.dumps({"id": own.key(i), "url": "https://x.org", "width": 48})
            for ending, data in (("txt", tags.encode()), ("jpg", own.read(i)), ("json", note.encode())):
                info = tarfile.TarInfo(f"{i:09d}.{ending}")
                info.size, info.mtime = len(data), 1.5
                tar.addfile(info, io.BytesIO(data))
    shard_indexer.build(
        [tar_path],
        posts.Columns(),
        vocab_path=shards / "vocab.json",
        output=tmp_path / "index",
        options=shard_indexer.Options(workers=1),
    )
    assert pretrain(tmp_path / "run", **SHORT, **{"DATA.SHARDS": tmp_path / "index"}) == 0
    assert [r["loss"] for r in records(tmp_path / "run")] == [r["loss"] for r in records(short)]
    assert all(
        torch.equal(a, b)
        for a, b in zip(weights(tmp_path / "run").values(), weights(short).values(), strict=True)
    )


# --- killed at any moment: the plants below run in the process that is to die ---------------------


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def nothing() -> None:
    pass


def at_update(number: int) -> None:
    """Die between the forward and the backward of an update."""
    from pretrain.training import train

    original = train.Run.losses

    def losses(self, batch, iteration):
        found = original(self, batch, iteration)
        if iteration == number:
            die()
        return found

    train.Run.losses = losses


def one_rank_dies(number: int) -> None:
    """Let rank 1 of a job of several processes die at an update; they are started with spawn."""
    from pretrain.training import train

    train.pretrain = partial(_dying_rank, number)


def _dying_rank(number: int, *args) -> None:
    from pretrain.training import train
    from wsl_det.core import dist

    if dist.rank() == 1:
        at_update(number)
    train.pretrain(*args)


def while_saving(number: int) -> None:
    """Die with half of the ``number``-th checkpoint on the disk, still under its scratch name."""
    original, calls = torch.save, []

    def save(value, file, *args, **kwargs):
        original(value, file, *args, **kwargs)
        calls.append(file)
        if len(calls) == number:
            file.truncate(file.tell() // 2)
            die()

    torch.save = save


def after_renaming(number: int) -> None:
    """Die when the ``number``-th checkpoint has its name and the old ones are not yet dropped."""
    original, calls = os.replace, []

    def replace(source, target):
        original(source, target)
        if str(target).endswith(".pth"):
            calls.append(target)
            if len(calls) == number:
                die()

    os.replace = replace


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(partial(at_update, 5), id="step"),
        pytest.param(partial(at_update, UPDATES - 1), id="last step"),
        pytest.param(partial(while_saving, 2), id="half a checkpoint"),
        pytest.param(partial(after_renaming, 3), id="named checkpoint"),
        pytest.param(partial(while_saving, 5), id="half of model_final"),
    ],
)
def test_killed_and_resumed_is_the_same_run(
    plant: Callable[[], None], undisturbed: Path, pretrain: Pretrain, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert pretrain.killed(plant, run) == -signal.SIGKILL
    assert not (run / "model_final.pth").exists()
    assert pretrain(run, "--resume") == 0
    assert_same_run(run, undisturbed)
    assert not list(run.glob(".*"))


@pytest.mark.slow
def test_killed_at_twenty_random_moments(undisturbed: Path, pretrain: Pretrain, tmp_path: Path) -> None:
    chance = random.Random(0)
    began = time.monotonic()
    assert pretrain.killed(nothing, tmp_path / "timed") == 0
    whole = time.monotonic() - began
    for moment in range(20):
        run = tmp_path / f"run{moment}"
        for words in ((), ("--resume",)):  # the resumed run is killed too
            process = pretrain.start(nothing, run, *words)
            process.join(timeout=chance.uniform(0, whole))
            process.kill()
            process.join()
        assert pretrain(run, "--resume") == 0
        assert_same_run(run, undisturbed)
