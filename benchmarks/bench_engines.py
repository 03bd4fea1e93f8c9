"""Mask R-CNN R-50-FPN side by side in one process: our engine, Detectron2's, and torchvision's model.

    python benchmarks/bench_engines.py [--rounds 7] [--size 256 320] [--device cpu] [KEY VALUE ...]

The two engines get equal weights, pictures and seeds; their outputs are compared before anything is
timed, and the program ends with 1 when they differ by more than the printed tolerance. Every round
runs each of them once, in an order that turns round by round; the figure is the median over rounds
of the ratio within a round, with the smallest and the largest. torchvision's model takes over trunk,
pyramid and proposal head, so that it has as many proposals to work on; its second stage keeps random
weights and its draws are its own, so its step and inference are timed and compared with nothing.
What is not installed is left out by name.

At inference our engine runs a second time for every set of switches (WSL_DET.INFERENCE) given with
--switches, such as FOLD_BN+CHANNELS_LAST or all; the largest difference of its pyramid from the
plain one's is printed before.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "parity"))
# The same operations in the same order on a CPU; on a GPU additions race.
TOLERANCE = {"cpu": 0.0, "cuda": 2e-3}
Work = Callable[[], Any]
ALL = {
    "float32": "FOLD_BN+CHANNELS_LAST+CLASS_MASKS",
    "bfloat16": "FOLD_BN+CHANNELS_LAST+CLASS_MASKS+bfloat16",
}
# What torchvision calls the trunks it has: by depth, groups and width of a group.
TORCHVISION = {(50, 1, 64): "resnet50", (101, 1, 64): "resnet101", (101, 32, 8): "resnext101_32x8d"}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", type=int, nargs=2, default=(256, 320), metavar=("H", "W"))
    parser.add_argument("--images", type=int, default=1, help="pictures in a batch")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=("inference", "training"))
    parser.add_argument("--switches", nargs="*", default=(), metavar="A+B", help="or float32, or bfloat16")
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="config keys, such as MODEL.MASK_ON False"
    )
    return parser.parse_intermixed_args()


def config(args: argparse.Namespace) -> Any:
    """Detectron2's R-50-FPN with the stride where torchvision has it."""
    from wsl_det.core.config import load
    from wsl_det.detector.defaults import TREE

    fixed = ["MODEL.DEVICE", args.device, "MODEL.RESNETS.STRIDE_IN_1X1", False]
    return load(ROOT / "configs" / "base_mask_rcnn_fpn.yaml", TREE, [*fixed, *args.opts])


def engines(cfg: Any) -> dict[str, tuple[Any, Any]]:
    """{name: (engine, model)} with equal lively weights, so that detections and masks have work."""
    import scenes

    from wsl_det.detector.engine import installed, select_engine

    names = ["embedded", *(["detectron2"] if installed("detectron2") else [])]
    if len(names) == 1:
        print("Detectron2 is not installed: left out")
    made = {name: select_engine(name)(cfg) for name in names}
    return {name: (engine, scenes.fill(engine.build(), seed=3)) for name, engine in made.items()}


def detect(engine: Any, model: Any, examples: list[Any]) -> Any:
    import torch

    with torch.no_grad():
        return engine.decode(model.eval()(engine.encode(examples)))


def switched(cfg: Any, sets: Sequence[str], model: Any) -> dict[str, tuple[Any, Any]]:
    """{name of the set: (engine, model)}: copies of ``model`` with the switches of each set on."""
    from wsl_det.detector.engine import select_engine

    made = {}
    for name in sets:
        words = ALL.get(name, name).split("+")
        on = {f"WSL_DET__INFERENCE__{w}": True for w in words if w.isupper()}
        precision = next((w for w in words if w.islower()), "float32")
        switched_cfg = cfg.override(**on, WSL_DET__INFERENCE__PRECISION=precision)
        engine = select_engine("embedded")(switched_cfg)
        made[name] = (engine, engine.for_inference(model.eval()))
    return made


def pyramid_difference(fast: Any, plain: Any, examples: list[Any]) -> float:
    """Largest difference of a level of the pyramid, over the level's largest value."""
    import torch

    with torch.no_grad():
        images, _ = plain.normalise([e.image for e in examples])
        found, wanted = fast.backbone(images), plain.backbone(images)
    return max(float((found[k] - v).abs().max() / v.abs().max()) for k, v in wanted.items())


def step(engine: Any, model: Any, examples: list[Any], half: bool = False) -> dict[str, float]:
    """Forward, backward; the optimizer's step is the same code for all. ``half``: SOLVER.AMP in bfloat16."""
    import torch

    model.train().zero_grad(set_to_none=True)
    device = next(model.parameters()).device.type
    with engine.running(0), torch.autocast(device, dtype=torch.bfloat16, enabled=half):
        losses = model(engine.encode(examples))
    sum(losses.values()).backward()
    return {key: value.item() for key, value in losses.items()}


def torchvision_name(key: str) -> str | None:
    """What torchvision's model calls a tensor of trunk, pyramid or proposal head; None for the others."""
    from wsl_det.backbone import names

    part, _, rest = key.partition(".")
    if rest.startswith("bottom_up."):
        return f"backbone.body.{names.to_torchvision(rest.removeprefix('bottom_up.'))}"
    if part == "backbone":
        block, _, kind = rest.partition(".")
        blocks = "inner_blocks" if "lateral" in block else "layer_blocks"
        return f"backbone.fpn.{blocks}.{int(block[-1]) - 2}.0.{kind}"
    if part != "proposal_generator":
        return None
    layer, _, kind = rest.removeprefix("rpn_head.").partition(".")
    theirs = {"conv": "conv.0.0", "objectness_logits": "cls_logits", "anchor_deltas": "bbox_pred"}
    return f"rpn.head.{theirs[layer]}.{kind}"


def _shape(cfg: Any) -> tuple[int, int, int]:
    trunk = cfg.MODEL.RESNETS
    return trunk.DEPTH, trunk.NUM_GROUPS, trunk.WIDTH_PER_GROUP


def torchvision_work(cfg: Any, examples: list[Any], ours: Any, kind: str) -> Work:
    """A training step, or inference, of torchvision's Mask R-CNN on the same pictures at the same size."""
    import torch
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.ops.misc import FrozenBatchNorm2d

    trunk = resnet_fpn_backbone(
        backbone_name=TORCHVISION[_shape(cfg)], weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    height, width = examples[0].image.shape[-2:]
    pixels = [[v / 255 for v in values] for values in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD)]
    sizes = {"min_size": min(height, width), "max_size": max(height, width)}
    sampling = {"rpn_pre_nms_top_n_train": cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN,
                "rpn_post_nms_top_n_train": cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN,
                "rpn_pre_nms_top_n_test": cfg.MODEL.RPN.PRE_NMS_TOPK_TEST,
                "rpn_post_nms_top_n_test": cfg.MODEL.RPN.POST_NMS_TOPK_TEST,
                "box_score_thresh": cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST}  # fmt: skip
    model = MaskRCNN(
        trunk,
        cfg.MODEL.ROI_HEADS.NUM_CLASSES + 1,
        image_mean=pixels[0],
        image_std=pixels[1],
        **sizes,
        **sampling,
    )
    model = model.to(cfg.MODEL.DEVICE).train(kind == "training")
    shared = {torchvision_name(k): v for k, v in ours.state_dict().items() if torchvision_name(k)}
    left = model.load_state_dict(shared, strict=False)
    assert not left.unexpected_keys and all(k.startswith("roi_heads.") for k in left.missing_keys)
    images = [e.image.float().div(255).to(cfg.MODEL.DEVICE) for e in examples]
    targets = [
        {"boxes": e.target.boxes_xyxy, "labels": e.target.classes + 1, "masks": e.target.masks.byte()}
        for e in examples
    ]
    targets = [{k: v.to(cfg.MODEL.DEVICE) for k, v in t.items()} for t in targets]

    def work() -> None:
        model.zero_grad(set_to_none=True)
        torch.manual_seed(0)
        sum(model(images, targets).values()).backward()

    def detected() -> None:
        with torch.no_grad():
            model(images)

    return work if kind == "training" else detected


def difference(found: dict[str, Any], kind: str, models: dict[str, Any]) -> float:
    """Largest relative difference of outputs (and gradients) between the two engines."""
    import torch

    ours, theirs = found["embedded"], found["detectron2"]
    if kind == "training":
        pairs = [(torch.tensor(ours[k]), torch.tensor(theirs[k])) for k in theirs]
        mine = dict(models["embedded"].named_parameters())
        other = dict(models["detectron2"].named_parameters())
        pairs += [(mine[k].grad, p.grad) for k, p in other.items() if p.grad is not None]
    else:
        pairs = []
        for a, b in zip(ours, theirs, strict=True):
            if len(a.scores) != len(b.scores) or not torch.equal(a.classes, b.classes):
                return float("inf")
            pairs += [(a.boxes_xyxy, b.boxes_xyxy), (a.scores, b.scores)]
            if a.masks != b.masks and a.boxes_xyxy.device.type == "cpu" and torch.equal(a.scores, b.scores):
                return float("inf")
    filled = [(a, b) for a, b in pairs if b.numel()]
    if not filled:
        raise SystemExit("nothing was detected, so there is nothing to compare: lower SCORE_THRESH_TEST")
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-12)) for a, b in filled)


def measure(work: dict[str, Work], rounds: int, device: str) -> dict[str, list[tuple[float, float]]]:
    """(wall, CPU) seconds of every round; everyone once before the clock starts."""
    import torch

    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    order = list(work)
    for number in range(-1, rounds):
        for name in order:
            wall, cpu = time.perf_counter(), time.process_time()
            work[name]()
            if device == "cuda":
                torch.cuda.synchronize()
            if number >= 0:
                seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
        order.append(order.pop(0))
    return seconds


def peak_memory(work: Work) -> float:
    """GiB that one run needs at most on the GPU, models and all."""
    import torch

    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() / 2**30


def show(
    kind: str, seconds: dict[str, list[tuple[float, float]]], work: dict[str, Work], device: str
) -> None:
    base = seconds["embedded"]
    for name, rounds in seconds.items():
        words = [f"{kind:10s} {name:22s}"]
        for clock, label in enumerate(("wall", "CPU")):
            ratios = [theirs[clock] / ours[clock] for theirs, ours in zip(rounds, base, strict=True)]
            words.append(f"{label} {statistics.median(r[clock] for r in rounds):7.3f} s")
            if name != "embedded":
                words.append(
                    f"({statistics.median(ratios):.3f} of ours, {min(ratios):.3f} to {max(ratios):.3f})"
                )
        if device == "cuda":
            words.append(f"peak {peak_memory(work[name]):.2f} GiB")
        print("  ".join(words), flush=True)


def main() -> int:
    args = parse_args()
    import scenes
    import torch
    import torchvision

    torch.set_num_threads(args.threads)
    cfg = config(args)
    # Boxes of a detector that sees 5 kinds of things: the rest of the 80 classes have no objects.
    examples = scenes.batch(0, bitmaps=True, shapes=[(*args.size, 6)] * args.images)
    pairs = engines(cfg)
    models = {name: model for name, (_, model) in pairs.items()}
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    versions |= {name: engine.version for name, (engine, _) in pairs.items()}
    print(
        ", ".join([platform.machine(), *(f"{name} {version}" for name, version in versions.items())]),
        f"{args.threads} threads, {args.images} x {args.size}, load {os.getloadavg()[0]:.1f}",
        sep="; ",
    )
    wrong = False
    for kind, run in {"inference": detect, "training": step}.items():
        if kind not in args.only:
            continue
        work: dict[str, Work] = {
            name: (lambda pair=pair, run=run: run(*pair, examples)) for name, pair in pairs.items()
        }
        if "detectron2" in work:
            worst = difference({name: call() for name, call in work.items()}, kind, models)
            print(f"{kind:10s} largest relative difference {worst:.1e}, allowed {TOLERANCE[args.device]:.0e}")
            wrong |= worst > TOLERANCE[args.device]
        if kind == "inference":
            fast = switched(cfg, args.switches, models["embedded"])
            for name, (engine, model) in fast.items():
                off = pyramid_difference(model, models["embedded"], examples)
                print(f"{kind:10s} {name}: pyramid differs by {off:.1e} of its largest value")
                work[name] = lambda pair=(engine, model), run=run: run(*pair, examples)
        if kind == "training":
            work["embedded, SOLVER.AMP"] = lambda: step(*pairs["embedded"], examples, half=True)
        if cfg.MODEL.MASK_ON and _shape(cfg) in TORCHVISION:
            work["torchvision"] = torchvision_work(cfg, examples, models["embedded"], kind)
        show(kind, measure(work, args.rounds, args.device), work, args.device)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
