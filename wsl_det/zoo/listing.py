"""The catalogue for people: a table to choose from, and all that is known of one entry."""

from __future__ import annotations

from wsl_det.backbone import conventions
from wsl_det.zoo.catalogue import Entry, Licence, entries


def table(markdown: bool = False) -> str:
    """The catalogue as a table a person can choose from; a size with ~ is computed, not published."""
    head = ("name", "architecture", "accuracy", "MB", "licence", "trained on")
    rows = [head] + [
        (e.name, e.arch_name, _accuracy(e), _size(e), _licence(e.licence), e.training_data)
        for e in entries().values()
    ]
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def card(entry: Entry) -> str:
    """All that is known of one entry, a line each."""
    pixels = conventions.KNOWN[entry.convention]
    accuracy = entry.accuracy or {}
    begins = f"{entry.hash_algorithm} begins with {entry.hash_prefix}"
    prefix = begins if entry.hash_prefix else "not published"
    facts = {
        "name": f"{entry.name} ({entry.kind}, {entry.arch_name})",
        "trained on": f"{entry.training_data}; fine-tuned on IN-1k: {entry.fine_tuned_on_in1k}",
        "accuracy": f"{_accuracy(entry)} on {accuracy['dataset']}, {accuracy['source']}"
        if accuracy
        else None,
        "note": entry.note,
        "licence": _licence(entry.licence, f", {entry.licence.url}"),
        "input": f"{pixels.channel_order}, mean {list(pixels.pixel_mean)}, std {list(pixels.pixel_std)}",
        "stride": "in the 1x1 convolution" if pixels.stride_in_1x1 else "in the 3x3 convolution",
        "batch norm": entry.bn,
        "address": entry.url,
        "size": f"{entry.bytes} bytes" if entry.bytes else f"about {_size(entry)[1:]} MB, computed",
        "hash": entry.sha256 or f"{prefix}; the full SHA-256 is not known, the first download's is kept",
    }
    return "\n".join(f"{name:<11} {value}" for name, value in facts.items() if value is not None)


def _licence(licence: Licence, more: str = "") -> str:
    return licence.name + more + (" (non-commercial)" if licence.non_commercial else "")


def _accuracy(entry: Entry) -> str:
    found = entry.accuracy or {}
    names = {"top1": "top-1", "box_ap": "box AP", "mask_ap": "mask AP"}
    return ", ".join(f"{names[k]} {found[k]:.1f}" for k in names if k in found) or "not published"


# Numbers in the trunks' files, statistics of batch norm included; a test builds each to count them.
# Written down, so that a list of names need not load torch and build ten models.
TRUNKS = {
    "resnet18": 11_186_112,
    "resnet50": 23_561_152,
    "resnet101": 42_605_504,
    "resnext50_32x4d": 23_048_128,
    "resnext101_32x4d": 42_266_560,
    "resnext101_32x8d": 86_945_216,
    "resnext101_32x16d": 192_310_720,
    "resnext101_32x32d": 467_074_496,
    "resnext101_32x48d": 827_215_296,
    "resnext152_32x8d": 120_618_432,
}
# Numbers beside the trunk: FPN, RPN and heads for COCO's 80 classes, with the mask head and without.
_DETECTOR, _WITHOUT_MASKS = 20_888_304, 18_245_024


def expected_bytes(entry: Entry) -> int:
    """The size of an entry's file: published, or four bytes for each number that its architecture has."""
    if entry.bytes or entry.arch_name not in TRUNKS:
        return entry.bytes or 0
    count = TRUNKS[entry.arch_name]
    if entry.kind == "detector":
        count += _DETECTOR if "mask_ap" in (entry.accuracy or {}) else _WITHOUT_MASKS
    else:
        features = 512 if entry.arch["depth"] < 50 else 2048
        count += 1000 * (features + 1)  # the head
    return 4 * count


def _size(entry: Entry) -> str:
    """Megabytes; with ~ where they are computed."""
    return f"{'' if entry.bytes else '~'}{expected_bytes(entry) / 1e6:.0f}"
