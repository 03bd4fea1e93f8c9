"""Our tree of defaults against the one recorded from Detectron2's get_cfg()."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from wsl_det.core import config
from wsl_det.detector import defaults
from wsl_det.errors import ConfigError

GOLDEN = Path(__file__).parents[2] / "golden" / "d2_defaults.json"
DETECTRON2 = {key: value for key, value in defaults.TREE.items() if key != "WSL_DET"}


def _leaves(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_defaults_equal_detectron2s_on_every_key():
    theirs = dict(_leaves(json.loads(GOLDEN.read_text())["defaults"]))
    ours = {k: v for k, v in _leaves(DETECTRON2) if not k.startswith(defaults.NOT_DETECTRON2S)}
    assert ours == theirs
    # 1 == 1.0 and True == 1 in Python, but the type decides which YAML values merge.
    assert {k: type(v) for k, v in ours.items()} == {k: type(v) for k, v in theirs.items()}


def test_an_unknown_key_names_its_neighbour():
    with pytest.raises(ConfigError, match=r"SOLVER\.BASE_LR"):
        config.merge(defaults.TREE, {"SOLVER": {"BASE_L": 0.1}})


# Keys that do nothing unless a switch is on, and that switch is refused by the embedded engine
# (embedded/build.py) or by both (settings.check).
OFF = (
    *("MODEL.RETINANET", "MODEL.SEM_SEG_HEAD", "MODEL.PANOPTIC_FPN", "MODEL.ROI_BOX_CASCADE_HEAD"),
    *("MODEL.ROI_KEYPOINT_HEAD", "TEST.KEYPOINT_OKS_SIGMAS", "TEST.AUG.", "TEST.PRECISE_BN."),
    *("MODEL.ANCHOR_GENERATOR.ANGLES", "MODEL.ROI_BOX_HEAD.FED_LOSS", "MODEL.RESNETS.DEFORM"),
    *("DATASETS.PRECOMPUTED_PROPOSAL_TOPK", "VERSION", "GLOBAL.HACK"),
)


def test_no_key_is_passed_over_in_silence():
    """Every key is named in the code of the embedded engine and its loop, or belongs to what is refused."""
    room = Path(defaults.__file__).parent
    files = [p for p in [*room.glob("*.py"), *room.glob("embedded/*.py")] if p.name != "defaults.py"]
    words = set(re.findall(r"\w+", "\n".join(p.read_text() for p in files)))
    keys = [k for k, _ in _leaves(DETECTRON2) if not k.startswith(OFF)]
    assert len(keys) > 120
    assert [k for k in keys if k.rpartition(".")[2] not in words] == []
