"""Agreement of readers and accuracy without duplicates, by arithmetic that can be followed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wsl_det.core import verdicts
from wsl_det.core.verdicts import Judged, SearchedSet, Verdicts
from wsl_det.errors import ConfigError, DataError


def given(said: str, candidates: str = "c") -> Verdicts:
    """Verdicts of consecutive pairs from letters: y, n, u, or - for none."""
    words = {"y": "yes", "n": "no", "u": "unsure"}
    rows = tuple(
        Judged(i, "val", f"{i}.jpg", i, f"k{i}", i, 0.9, words[letter])
        for i, letter in enumerate(said)
        if letter != "-"
    )
    sets = (SearchedSet("val", "coco", "f" * 64, 100),)
    return Verdicts(Path("v.json"), "0" * 64, "ann", candidates, "t" * 64, sets, len(said), rows)


def test_kappa_by_hand() -> None:
    # Table yes/no: 20 both yes, 5 yes-no, 10 no-yes, 15 both no: raw 0.7, chance 0.5, kappa 0.4.
    a = given("y" * 20 + "y" * 5 + "n" * 10 + "n" * 15)
    b = given("y" * 20 + "n" * 5 + "y" * 10 + "n" * 15)
    found = verdicts.agreement(a, b)
    assert found["raw"] == pytest.approx(0.7)
    assert found["kappa"] == pytest.approx(0.4)
    assert found["table"][0] == [20, 5, 0]
    assert found["disagreements"] == list(range(20, 35))


def test_kappa_where_it_is_undefined() -> None:
    assert verdicts.agreement(given("yy"), given("yy"))["kappa"] is None
    nothing = verdicts.agreement(given("y-"), given("-y"))
    assert (nothing["judged_by_both"], nothing["raw"], nothing["kappa"]) == (0, None, None)


def test_only_what_both_say_is_settled() -> None:
    rows = verdicts.settled(given("ynu-y"), given("yyu y-".replace(" ", "")[:5]))
    assert [row.verdict for row in rows] == ["yes", "unsure", "unsure", "unsure", "unsure"]
    with pytest.raises(DataError, match="different lists"):
        verdicts.settled(given("y"), given("y", "d"))


def test_accuracy_with_duplicates_left_out_and_as_errors() -> None:
    correct = np.array([True, True, False, True])
    duplicate = np.array([True, False, False, False])
    assert verdicts.accuracy(correct, duplicate, "exclude") == pytest.approx(2 / 3)
    assert verdicts.accuracy(correct, duplicate, "wrong") == pytest.approx(2 / 4)
    assert np.isnan(verdicts.accuracy(correct[:1], duplicate[:1], "exclude"))
    with pytest.raises(ConfigError, match="exclude or wrong"):
        verdicts.accuracy(correct, duplicate, "keep")
    with pytest.raises(DataError):
        verdicts.accuracy(correct[:2], duplicate, "wrong")


def test_verdicts_belong_to_one_annotation_file() -> None:
    known = np.arange(3)
    assert verdicts.image_ids(given("yny"), "f" * 64, known, "gt.json") == [0, 2]
    with pytest.raises(DataError, match="about other images"):
        verdicts.image_ids(given("y"), "e" * 64, known, "gt.json")
    with pytest.raises(DataError, match="does not have"):
        verdicts.image_ids(given("yyyy"), "f" * 64, known, "gt.json")


@pytest.mark.parametrize(
    "change",
    [
        *({"score": value} for value in ("0.9", None, True, 10**400, float("nan"), float("inf"))),
        *({"pair": value} for value in (True, 0.0, "0", 2**63)),
    ],
)
def test_numbers_of_a_verdicts_file_are_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("v.json").touch()
    path = tmp_path / "settled.json"
    verdicts.write_settled(path, given("y"), given("y"))
    assert len(verdicts.read(path).rows) == 1
    value = json.loads(path.read_text())
    value["verdicts"][0] |= change
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match=r"no whole verdicts file .*expected a (finite|whole) number"):
        verdicts.read(path)
