"""What one detector gains over another: how much, how sure, and in recognition or localization.

In a notebook::

    from wsl_det import gain

    card = gain.compare("instances_val2017.json", "baseline.json", "candidate.json")
    print(card)                                        # the table
    card                                               # the page
    card.content["bbox"]["metrics"]["AP"]["interval"]  # any number of gain.json
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsl_det.gain.report import GainReport

__all__ = ["compare"]


def compare(
    gt: str | Path,
    baseline: str | Path | Sequence[str | Path],
    candidate: str | Path | Sequence[str | Path],
    *,
    bootstrap: int = 1000,
    attribution_bootstrap: int = 200,
    seed: int = 0,
    allow_mismatch: bool = False,
) -> GainReport:
    """The gain report of two sides, as ``tools/report_gain.py`` makes it.

    gt: a COCO annotation file. baseline, candidate: COCO result files; several on a side are runs with
    different training seeds. bootstrap, attribution_bootstrap: resamples of the images (levels 1 and 2, and
    level 3, of design.md section 5; 0 for the second leaves level 3 out). The result prints as the table and
    shows as the page in a notebook; ``content`` is gain.json, ``report.write(result, folder)`` writes the
    files. Raises ConfigError for numbers of resamples that make no interval, DataError for files that are not
    what they should be and for sides that are not alike (unless ``allow_mismatch``).
    """
    from wsl_det.gain import report

    options = report.Options(bootstrap, attribution_bootstrap, seed)
    return report.make(gt, _paths(baseline), _paths(candidate), options, allow_mismatch=allow_mismatch)


def _paths(given: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [given] if isinstance(given, str | Path) else list(given)
