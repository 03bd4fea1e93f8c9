"""Names of trunk tensors: torchvision and timm on one side, Detectron2 on the other, a bijection.

Both sides have no prefix. Facebook's Caffe2 names (``res2_0_branch2a_w``) are read in one direction
only: nothing writes them any more.
"""

from __future__ import annotations

import re

from wsl_det.errors import CheckpointError

_LEAF = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_TORCH_BLOCK = re.compile(rf"layer([1-4])\.(\d+)\.(conv|bn|downsample\.)([0-3])\.{_LEAF}")
_TORCH_STEM = re.compile(rf"(conv|bn)1\.{_LEAF}")
_D2_BLOCK = re.compile(rf"res([2-5])\.(\d+)\.(?:conv([1-3])|(shortcut))(\.norm)?\.{_LEAF}")
_D2_STEM = re.compile(rf"stem\.conv1(\.norm)?\.{_LEAF}")
_C2_BLOCK = re.compile(r"res([2-5])_(\d+)_branch(1|2a|2b|2c)(_bn)?_(w|b|s|rm|riv|gamma|beta)")
_C2_STEM = re.compile(r"(?:(conv1)|(res_conv1_bn))_(w|b|s|rm|riv|gamma|beta)")
_C2_BRANCH = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
_C2_NORM_LEAF = {"s": "weight", "gamma": "weight", "b": "bias", "beta": "bias"} | {
    "rm": "running_mean",
    "riv": "running_var",
}
_C2_CONV_LEAF = {"w": "weight", "b": "bias"}


def to_detectron2(key: str) -> str:
    """``layer1.0.bn2.weight`` as ``res2.0.conv2.norm.weight``; a name that is none is a CheckpointError."""
    if m := _TORCH_BLOCK.fullmatch(key):
        stage, block, kind, n, leaf = m.groups()
        if kind == "downsample." and n in "01":
            return f"res{int(stage) + 1}.{block}.shortcut{'.norm' if n == '1' else ''}.{leaf}"
        if kind != "downsample." and n != "0":
            return f"res{int(stage) + 1}.{block}.conv{n}{'.norm' if kind == 'bn' else ''}.{leaf}"
    if m := _TORCH_STEM.fullmatch(key):
        return f"stem.conv1{'.norm' if m[1] == 'bn' else ''}.{m[2]}"
    raise CheckpointError(f"{key!r} is not the name of a tensor of a torchvision or timm ResNe(X)t trunk")


def to_torchvision(key: str) -> str:
    """``res2.0.conv2.norm.weight`` as ``layer1.0.bn2.weight``: the inverse of ``to_detectron2``."""
    if m := _D2_BLOCK.fullmatch(key):
        stage, block, conv, shortcut, norm, leaf = m.groups()
        part = f"downsample.{'1' if norm else '0'}" if shortcut else f"{'bn' if norm else 'conv'}{conv}"
        return f"layer{int(stage) - 1}.{block}.{part}.{leaf}"
    if m := _D2_STEM.fullmatch(key):
        return f"{'bn' if m[1] else 'conv'}1.{m[2]}"
    raise CheckpointError(f"{key!r} is not the name of a tensor of a Detectron2 ResNe(X)t trunk")


def from_caffe2(key: str) -> str:
    """``res2_0_branch2b_bn_s`` as ``res2.0.conv2.norm.weight``; a name that is none is a CheckpointError."""
    if m := _C2_BLOCK.fullmatch(key):
        stage, block, branch, norm, leaf = m.groups()
        where = f"res{stage}.{block}.{_C2_BRANCH[branch]}"
    elif m := _C2_STEM.fullmatch(key):
        _, norm, leaf = m.groups()
        where = "stem.conv1"
    else:
        raise CheckpointError(f"{key!r} is not the name of a tensor of a Caffe2 ResNe(X)t trunk")
    known = _C2_NORM_LEAF if norm else _C2_CONV_LEAF
    if leaf not in known:
        raise CheckpointError(f"{key!r}: a convolution has no {leaf!r}")
    return f"{where}{'.norm' if norm else ''}.{known[leaf]}"
