"""A trunk as a folder for Hugging Face's hub: weights that timm builds, certificate, card from records."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wsl_det.backbone import convert, reference, timm_models
from wsl_det.backbone.arch import Architecture
from wsl_det.backbone.artifact import Artifact, certificate_path
from wsl_det.backbone.export import Facts
from wsl_det.backbone.sources import Source
from wsl_det.backbone.timm_source import TimmSource
from wsl_det.core import files
from wsl_det.errors import ConfigError, DataError, DownloadError, first_line, public

SCHEME = "hf-hub:"
WEIGHTS, SETTINGS, CARD = "model.safetensors", "config.json", "README.md"
# timm's own models of which every other plain ResNe(X)t is made, with what they say of their widths.
_BASES = {
    "bottleneck": ("resnext101_32x8d", Architecture((3, 4, 23, 3), groups=32, width_per_group=8)),
    "basic": ("resnet18", Architecture((2, 2, 2, 2), "basic", res2_channels=64)),
}
_USE = (
    "Features for detection, segmentation and classification of everyday photos. What the labels of its "
    "training photos hold, it has learned too: look at its answers on your own data before they decide "
    "anything about people."
)
_PARITY = {"size": 224, "resize": 256}


@dataclass(frozen=True)
class Told:
    """What the user adds to the records: facts of an export, what the model is meant for, a gain report."""

    facts: Facts = Facts()  # noqa: RUF009 (frozen)
    use: str = _USE
    gain: str | None = None


def repository(text: str) -> str:
    """ORG/NAME of ``hf-hub:ORG/NAME``; ConfigError for anything else."""
    name = text.removeprefix(SCHEME)
    if not text.startswith(SCHEME) or not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", name, re.ASCII):
        raise ConfigError(f"{text!r:.200} names no repository; expected {SCHEME}ORG/NAME")
    return name


def write(
    source: Source | TimmSource, name: str, folder: Path, told: Told, results: Mapping[str, Any] | None = None
) -> str:
    """Fill ``folder``; a few words of what is in it.

    ``name`` is ORG/NAME, ``results`` the results.json of a pretraining run. Raises ConfigError for weights
    whose licence nobody knows, CheckpointError where timm's model would compute something else.
    """
    if isinstance(source, TimmSource):
        raise ConfigError(
            f"{source.declared.name} is no plain ResNe(X)t; what has timm's own layers is published by timm: "
            "timm.models.push_to_hf_hub"
        )
    made, certified = convert.convert(source, folder / WEIGHTS, "safetensors", told.facts)
    licence = certified["licence"]
    if licence["name"] == "unknown":
        raise ConfigError(f"the licence of {source.path} is not known; give --licence (and --licence-url)")
    settings = _settings(made, licence)
    _same_features(made, settings)
    files.write_json(folder / SETTINGS, settings)
    # Whoever reads it has neither folder.
    public_ = {**certified, "artifact": {**certified["artifact"], "path": WEIGHTS}}
    public_["source"] = {**certified["source"], "path": Path(certified["source"]["path"]).name}
    files.write_json(certificate_path(folder / WEIGHTS), public_)
    gain = None if told.gain is None else files.read_json(told.gain, "gain report")
    files.write_text(folder / CARD, card(name, made, certified, told.use, results or {}, gain))
    return f"{made.arch.name} as {settings['architecture']} {settings['model_args'] or ''}".strip()


def _settings(made: Artifact, licence: Mapping[str, Any]) -> dict[str, Any]:
    """config.json, by which ``timm.create_model("hf-hub:...")`` builds the trunk without a head."""
    arch = _plain(made)
    name, base = _BASES[arch.block]
    usual, own = reference.timm_widths(base), reference.timm_widths(arch)
    args = {key: value for key, value in own.items() if value != usual[key]}
    if arch.blocks != base.blocks:
        args["layers"] = arch.blocks
    view = {**_PARITY, **(made.meta.get("view") or {})}
    mean, std = ([value / 255 for value in made.meta[key]] for key in ("pixel_mean", "pixel_std"))
    return {
        "architecture": name,
        "num_classes": 0,
        "num_features": arch.res2_channels * 8,
        "global_pool": "avg",
        "model_args": {key: list(v) if isinstance(v, tuple) else v for key, v in args.items()},
        "pretrained_cfg": {
            "input_size": [3, view["size"], view["size"]],
            "mean": mean,
            "std": std,
            "interpolation": "bilinear",
            "crop_pct": view["size"] / view["resize"],
            "fixed_input_size": False,
            "num_classes": 0,
            "pool_size": [7, 7],
            "first_conv": "conv1",
            "classifier": "fc",
            "license": licence["name"],
        },
    }


def _plain(made: Artifact) -> Architecture:
    assert isinstance(made.arch, Architecture)
    return made.arch


@torch.inference_mode()
def _same_features(made: Artifact, settings: Mapping[str, Any]) -> None:
    """Raise DataError unless timm builds a model of the very same features by these settings."""
    import safetensors.torch

    model = timm_models.create(settings["architecture"], settings["model_args"], num_classes=0)
    weights = safetensors.torch.load_file(made.path)
    model.load_state_dict(weights)
    wanted, _ = reference.build(_plain(made), weights, stride_in_1x1=False, library="timm")
    images = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    found, expected = (reference.features(each.eval(), images) for each in (model, wanted))
    if differing := [stage for stage in expected if not torch.equal(found[stage], expected[stage])]:
        raise DataError(f"timm's {settings['architecture']} gives other features at {', '.join(differing)}")


def card(  # noqa: PLR0917 (a page of many sources)
    name: str,
    made: Artifact,
    certified: Mapping[str, Any],
    use: str,
    results: Mapping[str, Any],
    gain: Mapping[str, Any] | None,
) -> str:
    """The model card: what is recorded, and what was not measured."""
    run, origin, licence = (made.meta.get("pretraining") or {}), certified["provenance"], certified["licence"]
    measured = {**results.get("recall", {}), **results.get("accuracy", {})}
    worst = max(certified["parity"]["largest_relative_error"].values())
    rows = {
        "architecture": made.arch.name,
        "trained on": origin["training_data"],
        "photos": run.get("images"),
        "labels": run.get("labels"),
        "classes": run.get("classes"),
        "vocabulary (sha256)": run.get("vocabulary") or origin.get("vocabulary"),
        "draws": run.get("draws"),
        "resampling": run.get("sampling"),
        "label noise added": run.get("noise"),
        "schedule": run.get("schedule"),
        "seed": run.get("seed"),
        "fine-tuned on ImageNet-1k labels": origin["fine_tuned_on_in1k"],
        "duplicates of test photos left out": "yes" if origin.get("verdicts") else None,
        "licence": " ".join(filter(None, (licence["name"], licence["url"]))),
        "weights (sha256)": made.sha256,
        "made from (sha256)": certified["source"]["sha256"],
    }
    lacking = [what for what, value in rows.items() if value in (None, "unknown")]
    lacking += [] if measured else ["accuracy on held-out photos"]
    lacking += [] if gain else ["the gain of a detector over another trunk (report_gain)"]
    lacking += ["faces, skin tones, places: how errors are spread over people and countries"]
    told = "\n".join(f"| {what} | {_shown(v)} |" for what, v in rows.items() if what not in lacking)
    parts = [
        _front(licence, name),
        f"# {name.partition('/')[2]}\n\n{made.arch.name}, a trunk without a head, made by wsl_det.",
        f'```python\nimport timm\nmodel = timm.create_model("{SCHEME}{name}", pretrained=True)\n```\n\n'
        f"In wsl_det: `wsl-det export_backbone {SCHEME}{name} backbone.pth`. Features are proved equal to "
        f"those of the source ({worst:.1e} of the largest, {certified['parity']['reference']}); `model.json` "
        "is the certificate.",
        f"## Data and recipe\n\n| | |\n|---|---|\n{told}",
        f"## Accuracy\n\n{_measured(measured, results.get('constant_guess', {}))}" if measured else "",
        f"## Gain as a detector's trunk\n\n{_gain(gain)}" if gain else "",
        f"## Intended use\n\n{use}",
        "## Not measured or not recorded\n\n" + "\n".join(f"- {what}" for what in lacking),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(licence: Mapping[str, Any], name: str) -> str:
    known = re.fullmatch(
        r"(?i)apache-2\.0|mit|bsd-3-clause|cc-by-(nc-)?(sa-|nd-)?4\.0|cc0-1\.0", licence["name"]
    )
    told = (
        f"license: {licence['name'].lower()}"
        if known
        else f"license: other\nlicense_name: {_slug(licence['name'])}"
    )
    link = f"\nlicense_link: {licence['url']}" if licence["url"] and not known else ""
    head = "library_name: timm\npipeline_tag: image-feature-extraction\ntags:\n- timm\n- wsl_det"
    return f"---\n{head}\n{told}{link}\n---"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-") or "other"


def _shown(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return public(re.sub(r"[|\r\n]+", " ", text))


def _measured(found: Mapping[str, Any], chance: Mapping[str, Any]) -> str:
    lines = [
        f"| {name} | {value:.2f} | {f'{chance[name]:.2f}' if name in chance else ''} |"
        for name, value in found.items()
        if isinstance(value, int | float) and name != "heldout_images"
    ]
    photos = (
        f"On {found['heldout_images']:,.0f} held-out photos, in percent.\n\n"
        if "heldout_images" in found
        else ""
    )
    return f"{photos}| | measured | a constant guess |\n|---|---|---|\n" + "\n".join(lines)


def _gain(report: Mapping[str, Any]) -> str:
    try:
        parts = [
            f"| {kind} {name} | {row['baseline']:.2f} | {row['candidate']:.2f} |"
            for kind in ("bbox", "segm")
            for name, row in report.get(kind, {}).get("asked", {}).get("metrics", {}).items()
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        parts = []
    if not parts:
        raise DataError("--gain holds no metrics; give the gain.json of wsl-det report_gain")
    return "| | baseline | with this trunk |\n|---|---|---|\n" + "\n".join(parts)


def upload(folder: Path, name: str, private: bool) -> str:
    """Put the folder into the repository, in one commit; its address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="wsl_det")
    try:
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=name, folder_path=folder, commit_message="Published by wsl_det")
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        advice = (
            "log in with `hf auth login`, with a token that may write"
            if status in (401, 403)
            else "try again"
        )
        raise DownloadError(f"{SCHEME}{name}: {public(first_line(error))}; {advice}") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise DownloadError(f"{SCHEME}{name} was not published ({public(first_line(error))})") from None
    return str(commit.commit_url)
