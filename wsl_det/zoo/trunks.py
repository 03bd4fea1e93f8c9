"""Named trunks of timm's by kind of supervision: data in ``trunks.json``, with licence and source."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from wsl_det.backbone.export import Facts
    from wsl_det.backbone.timm_source import TimmSource

PATH = Path(__file__).with_name("trunks.json")
KINDS = ("hashtags", "image and text", "self-distillation", "masked images", "labels")


class Trunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of timm's published weights: what taught it, on what, under which licence, from where."""

    name: str
    supervision: Literal["hashtags", "image and text", "self-distillation", "masked images", "labels"]
    training_data: str
    fine_tuned_on_in1k: Literal["yes", "no"]
    licence: str
    source: str


class _File(msgspec.Struct, frozen=True):
    schema: Literal[1]
    trunks: list[Trunk]


@cache
def entries() -> dict[str, Trunk]:
    """Every named trunk, in the order of the file."""
    return {one.name: one for one in msgspec.json.decode(PATH.read_bytes(), type=_File).trunks}


def facts(source: TimmSource) -> Facts:
    """What is known of published weights: from the list above, else timm's configuration."""
    from wsl_det.backbone.export import Facts  # with torch, which the list does without

    licence, known = source.declared.config.get("license"), entries().get(source.arch.model)
    told = str(licence) if licence else None
    if known is None:
        return Facts(licence=told)
    data = known.training_data
    return Facts(told or known.licence, known.source, data, known.fine_tuned_on_in1k, known.supervision)


def table() -> str:
    """The trunks as a Markdown table."""
    head = ("name", "supervision", "data", "fine-tuned on IN-1k", "licence")
    rows = [
        (f"[{t.name}]({t.source})", t.supervision, t.training_data, t.fine_tuned_on_in1k, t.licence)
        for t in entries().values()
    ]
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])
