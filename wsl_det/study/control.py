"""What a study refuses before its first job: arms that differ in more than what is compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsl_det import predictions
from wsl_det.core.config import Config
from wsl_det.errors import ConfigError, DataError
from wsl_det.gain import like_for_like
from wsl_det.predictions import Predictions
from wsl_det.study.plan import Study

NORM, FREEZE_AT = "MODEL.RESNETS.NORM", "MODEL.BACKBONE.FREEZE_AT"
_LIFT = "(in a study: allow_mismatch: true)"
# What contrasted pretrainings may differ in; which checkpoints are kept changes none.
_LABELS = ("DATA.LABELS", "SEED", "OUTPUT_DIR", "SOLVER.KEEP_AT")


def check(study: Study, tunings: Mapping[str, Config], recipes: Mapping[str, Config]) -> None:
    """Refuse what the gain report would refuse in the end, and what no report could tell apart.

    ``tunings`` holds one resolved configuration of each arm, ``recipes`` one of each pretraining, by the name
    of its arm in the file. Raises ConfigError with the settings in which a pair differs beyond backbone, run
    and swept learning rate, in which pretrainings that are contrasted differ beyond the labels, and for arms
    of other norms or frozen stages in a study that makes backbones; unless the study allows it.
    """
    if study.allow_mismatch:
        return
    if recipes:
        _check_protocol({name: (cfg.flat()[NORM], cfg.flat()[FREEZE_AT]) for name, cfg in tunings.items()})
    for pair in study.pairs:
        baseline, candidate = (_future(study, name, tunings[name]) for name in pair)
        try:
            like_for_like.check([baseline], [candidate], None, False)
        except DataError as error:
            raise ConfigError(f"arms {pair[0]} and {pair[1]}: {error} {_LIFT}") from None
    for pair in study.contrasts:
        roots = [study.arm(name).root for name in pair]
        if roots[0] != roots[1] and set(roots) <= set(recipes):
            _check_recipes(pair, *(_told(study, name, recipes) for name in pair))


def _check_protocol(found: Mapping[str, tuple[str, int]]) -> None:
    """Norm and freezing: the same in all arms, of a norm that learns, and nothing frozen."""
    norms = {norm for norm, _ in found.values()}
    if len(norms) > 1 or "FrozenBN" in norms or {frozen for _, frozen in found.values()} != {0}:
        listed = "".join(f"\n  {name}: {norm}, {frozen}" for name, (norm, frozen) in found.items())
        raise ConfigError(
            f"arms that begin at shards need {NORM} BN or GN, the same in all arms of the study, and "
            f"{FREEZE_AT} 0: where they differ they are the difference. Here they are{listed}\nset them in "
            f"overrides of the study {_LIFT}"
        )


def _told(study: Study, name: str, recipes: Mapping[str, Config]) -> dict[str, Any]:
    arm = study.arm(name)
    assert arm.recipe is not None
    kept = {key: value for key, value in recipes[arm.root].flat().items() if key not in _LABELS}
    return kept | {"seeds": arm.recipe.seeds, "at": arm.at, "cool": arm.recipe.cool if arm.at else None}


def _check_recipes(pair: tuple[str, str], first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    lines = [f"\n  {key}: {first[key]} | {second[key]}" for key in first if first[key] != second[key]]
    if lines:
        raise ConfigError(
            f"arms {pair[0]} and {pair[1]} are contrasted, but their pretrainings differ in more than "
            "the labels:"
            f"{''.join(lines)}\nmake them alike {_LIFT}"
        )


def _future(study: Study, arm: str, cfg: Config) -> Predictions:
    """Predictions as an arm's final run will have them, as far as likeness can be told from the header."""
    size = len(study.arm(arm).learning_rates)
    # Every final run of a study trains and is scored on the same data.
    config = {k: v for k, v in cfg.to_dict().items() if k != "DATASETS"}
    meta = {"config": config, "sweep": {"size": size} if size > 1 else None}
    return predictions.columns([], source=arm, meta=meta)
