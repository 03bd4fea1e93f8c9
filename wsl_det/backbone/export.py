"""From weights as people have them to a backbone artifact and its certificate, both or neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsl_det.backbone import artifact as artifacts
from wsl_det.backbone import certificate
from wsl_det.backbone.artifact import Artifact
from wsl_det.backbone.sources import Source
from wsl_det.backbone.timm_source import TimmSource
from wsl_det.core import files, provenance
from wsl_det.errors import ConfigError

UNKNOWN: dict[str, Any] = {"name": "unknown", "url": None}


@dataclass(frozen=True)
class Facts:
    """What no tensor tells: said on the command line or by the catalogue, ``unknown`` otherwise."""

    licence: str | None = None
    licence_url: str | None = None
    training_data: str | None = None
    fine_tuned_on_in1k: str | None = None  # "yes", "no"
    supervision: str | None = None

    def over(self, other: Facts) -> Facts:
        """These facts, with ``other``'s where these say nothing."""
        return Facts(**{k: v if v is not None else getattr(other, k) for k, v in vars(self).items()})


def export(
    source: Source | TimmSource, output: str | Path, facts: Facts | None = None
) -> tuple[Artifact, dict[str, Any]]:
    """Write ``output`` (.pth) and its certificate (.json beside it); returns both as read back.

    The features are proved on the very file that then gets its name. If anything fails, neither file
    is written and old ones stay.
    """
    output = Path(output)
    if output.suffix != ".pth":
        # Detectron2 chooses its reader by the suffix.
        raise ConfigError(
            f"OUTPUT is {output.name!r}; a backbone is a .pth file: {output.with_suffix('.pth')}"
        )
    if output.is_dir():
        raise ConfigError(f"OUTPUT {output} is a folder; name a file in it: {output / 'backbone.pth'}")
    beside = artifacts.certificate_path(output)
    with files.atomic_path(beside) as certificate_draft, files.atomic_path(output) as draft:
        artifacts.write(draft, source.weights, meta(source, facts or Facts()))
        made = artifacts.read(draft)
        certified = _certify(source, made)
        certified["artifact"]["path"] = certified["config"]["MODEL.WEIGHTS"] = str(output)
        files.write_json(certificate_draft, certified)
        # The old certificate goes first: whoever reads between the two renames finds weights without
        # a certificate, never weights with somebody else's.
        beside.unlink(missing_ok=True)
    return replace(made, path=output), certified


def _certify(source: Source | TimmSource, made: Artifact) -> dict[str, Any]:
    if isinstance(source, TimmSource):
        from wsl_det.backbone import timm_certificate

        return timm_certificate.certify(source, made)
    return certificate.certify(source, made)


def meta(source: Source | TimmSource, facts: Facts) -> dict[str, Any]:
    """What an artifact says about itself: header, shape, pixels, stride, BN, licence, provenance."""
    made_from = {"source": source.sha256 and f"sha256:{source.sha256}"}
    header = provenance.header("backbone", artifacts.SCHEMA, made_from)
    if isinstance(source, TimmSource):
        from wsl_det.backbone import timm_certificate

        return timm_certificate.meta(source, header, _timm_facts(source, facts))
    licence = _plain(source.origin.get("licence")) or dict(UNKNOWN)
    return {
        **header,
        "arch": source.arch.to_dict(),
        **source.convention.to_meta(),
        "bn": source.bn,
        "licence": _licence(facts) or licence,
        "provenance": _provenance(source, facts),
        # What curves over many runs need to know, and how the run was tested.
        **{key: told for key in ("pretraining", "view") if (told := _plain(source.origin.get(key)))},
    }


def _licence(facts: Facts) -> dict[str, Any] | None:
    return {"name": facts.licence, "url": facts.licence_url} if facts.licence else None


def _timm_facts(source: TimmSource, facts: Facts) -> dict[str, Any]:
    """Licence and provenance as told here; a file of one's own has none of timm's."""
    drawn = source.path is None
    known = {
        "source": f"timm {source.arch.model}, drawn from seed {source.seed}" if drawn else source.path.name,  # type: ignore[union-attr]
        "source_sha256": source.sha256,
        "training_data": "nothing" if drawn else facts.training_data or "unknown",
        "fine_tuned_on_in1k": "no" if drawn else facts.fine_tuned_on_in1k or "unknown",
    }
    known |= {"supervision": facts.supervision} if facts.supervision else {}
    return {"licence": _licence(facts) or dict(UNKNOWN), "provenance": known}


def _provenance(source: Source, facts: Facts) -> dict[str, Any]:
    """Where the weights come from; a pretraining run of ours has seen its hashtags and nothing else."""
    origin = source.origin
    known = _plain(origin.get("provenance"))
    if "source" in known:
        # The file at the beginning stays known however often its weights change their format.
        known.setdefault("original", known["source"])
        known.setdefault("original_sha256", known.get("source_sha256"))
    own_run = "vocabulary" in origin or "dataset" in origin
    own = {key: origin[key] for key in ("vocabulary", "dataset") if isinstance(origin.get(key), str)}
    known |= {"source": source.path.name, "source_sha256": source.sha256}
    unknown = {"training_data": own.get("dataset"), "fine_tuned_on_in1k": "no" if own_run else None}
    for key, told in unknown.items():
        known[key] = getattr(facts, key) or known.get(key) or told or "unknown"
    known |= own
    if isinstance(origin.get("verdicts"), Mapping):
        known["verdicts"] = dict(origin["verdicts"])  # copies of test images that were not trained on
    return known


def _plain(found: Any) -> dict[str, Any]:
    """The texts and numbers of a dict that a file from elsewhere brings; whatever else it holds is left."""
    if not isinstance(found, Mapping):
        return {}
    kept = (str, int, float, bool, type(None))
    return {k: v for k, v in found.items() if type(k) is str and type(v) in kept}


def describe(artifact: Artifact, certified: Mapping[str, Any]) -> str:
    """A short table for the terminal: what was written and what was proved."""
    counts, parity = certified["counts"], certified["parity"]
    worst = max(parity["largest_relative_error"].values())
    facts = certified["provenance"]
    kept = f"{counts['used']} used, {counts['dropped']} dropped on purpose, 0 missing"
    norms = {"folded": "folded into the affine: use it frozen only", "initial": "initial: let them learn"}
    rows = {
        "backbone": f"{artifact.path} ({artifact.arch.name}, sha256 {artifact.sha256[:12]})",
        "certificate": str(artifacts.certificate_path(artifact.path)),
        "keys": kept + (f", {counts['filled']} filled in" if counts["filled"] else ""),
        "batch norm": norms.get(certified["bn"], certified["bn"]),
        "parity": f"largest relative error {worst:.1e} against {parity['reference']}",
        "input": certified["input"]["channel_order"],
        "convention": certified["convention"],
        "licence": certified["licence"]["name"],
        "trained on": f"{facts['training_data']}; fine-tuned on IN-1k: {facts['fine_tuned_on_in1k']}",
    }
    return "\n".join(f"{name:<12} {value}" for name, value in rows.items())


def config_lines(certified: Mapping[str, Any]) -> str:
    """The detector's config keys that fit the backbone, as a config file has them."""
    keys = "\n".join(f"  {key} {_yaml(value)}" for key, value in certified["config"].items())
    return f"use it with these config keys:\n{keys}"


def _yaml(value: Any) -> str:
    if value is None:
        return "none of Detectron2's (its blocks are unusual)"
    return '"[' + ", ".join(map(str, value)) + ']"' if isinstance(value, list) else str(value)
