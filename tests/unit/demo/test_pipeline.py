"""The demo's driver: order, skipping, stopping at the first failure, refusing what is not its own."""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path

import pytest

from wsl_det.core import config
from wsl_det.demo import pipeline
from wsl_det.errors import DataError, WslError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tools(tmp_path, monkeypatch) -> Path:
    """Stand-ins for the tools: each notes that it ran and makes its product; `broken` fails."""
    folder = tmp_path / "tools"
    folder.mkdir()
    products = {stage.tool: [] for stage in pipeline.stages(tmp_path / "demo", short=False)}
    for stage in pipeline.stages(tmp_path / "demo", short=False):
        products[stage.tool].append(str(stage.product))
    for tool, paths in products.items():
        (folder / f"{tool}.py").write_text(
            "import json, pathlib, sys\n"
            f"pathlib.Path({str(tmp_path / 'ran')!r}).open('a').write({tool!r} + chr(10))\n"
            f"if pathlib.Path({str(tmp_path / 'broken')!r}).exists() and {tool!r} == 'export_backbone':\n"
            "    sys.exit('error: the weights are wet')\n"
            f"paths = [pathlib.Path(p) for p in {paths!r} if not pathlib.Path(p).exists()]\n"
            # The two arms run at once: each makes what its own command line asks for.
            "path = next(p for p in paths if str(p.parent) in sys.argv or p.name != 'results.json')\n"
            "path.parent.mkdir(parents=True, exist_ok=True)\n"
            "path.write_text('made')\n"
            "if path.name == 'gain.html':\n"
            f"    path.with_name('gain.json').write_text({json.dumps(GAIN)!r})\n",
            encoding="utf-8",
        )
    return folder


GAIN = {
    "bbox": {
        "metrics": {"AP": {"baseline": 4.0, "candidate": 12.5, "gain": 8.5, "interval": [6.0, 10.25]}},
        "two_factor": {
            "0.1": {
                "recognition": 7.5,
                "localization": 1.0,
                "interval": {"recognition": [5.0, 9.0], "localization": [-0.5, 2.0]},
            }
        },
    }
}


def _ran(tmp_path: Path) -> list[str]:
    return (tmp_path / "ran").read_text(encoding="utf-8").split()


def test_every_stage_runs_once_in_order_and_the_end_names_report_and_numbers(tools, tmp_path, capfd):
    pipeline.run(tmp_path / "demo", tools)
    assert _ran(tmp_path) == [stage.tool for stage in pipeline.stages(tmp_path / "demo", short=False)]
    out = capfd.readouterr().out
    assert "box AP from random numbers 4.0, from the hashtag trunk 12.5" in out
    assert "gain in box AP        +8.5 (95% interval +6.0 to +10.2)" in out
    assert "recognition    +7.5 (95% interval +5.0 to +9.0)" in out
    assert "localization   +1.0 (95% interval -0.5 to +2.0)" in out
    assert out.rstrip().endswith(f"report: {tmp_path / 'demo' / 'report' / 'gain.html'}")


def test_a_failure_stops_and_a_second_call_goes_on_from_there(tools, tmp_path, capfd):
    (tmp_path / "broken").touch()
    with pytest.raises(WslError, match="stopped at 'export the trunk': export_backbone ended with code 1"):
        pipeline.run(tmp_path / "demo", tools)
    assert "the weights are wet" in capfd.readouterr().err
    first = _ran(tmp_path)
    assert first[-1] == "export_backbone"
    (tmp_path / "broken").unlink()
    pipeline.run(tmp_path / "demo", tools)
    assert _ran(tmp_path)[len(first) :][0] == "export_backbone"
    assert "skipped" in capfd.readouterr().out


def test_when_one_arm_fails_the_demo_names_it(tools, tmp_path, capfd):
    broken = tools / "train_net.py"
    text = broken.read_text(encoding="utf-8")
    broken.write_text(
        "import sys, time\nif any('scratch' in a for a in sys.argv): sys.exit('error: no luck')\ntime.sleep(30)\n"
    )
    with pytest.raises(WslError, match="stopped at 'fine-tune the baseline': train_net ended with code 1"):
        pipeline.run(tmp_path / "demo", tools)
    assert "baseline  | error: no luck" in capfd.readouterr().err
    broken.write_text(text, encoding="utf-8")
    pipeline.run(tmp_path / "demo", tools)
    assert (tmp_path / "demo" / "candidate" / "results.json").exists()


def test_fresh_makes_everything_again(tools, tmp_path):
    pipeline.run(tmp_path / "demo", tools)
    once = len(_ran(tmp_path))
    pipeline.run(tmp_path / "demo", tools)
    assert len(_ran(tmp_path)) == once
    pipeline.run(tmp_path / "demo", tools, fresh=True)
    assert len(_ran(tmp_path)) == 2 * once


def test_a_short_demo_and_foreign_files_are_not_overwritten(tools, tmp_path):
    pipeline.run(tmp_path / "demo", tools, short=True)
    with pytest.raises(DataError, match="holds a short demo; pass --fresh"):
        pipeline.run(tmp_path / "demo", tools)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(DataError, match="no demo made"):
        pipeline.run(tmp_path / "mine", tools, fresh=True)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("short", [False, True])
def test_every_command_is_one_the_real_tool_understands(short, tmp_path, monkeypatch):
    for stage in pipeline.stages(tmp_path, short=short):
        path = ROOT / "tools" / f"{stage.tool}.py"
        spec = importlib.util.spec_from_file_location(f"demo_{stage.tool}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        # argparse leaves with SystemExit when it does not understand.
        assert isinstance(module.main.parse_args(stage.arguments), argparse.Namespace)


def test_both_arms_differ_only_in_their_start():
    from wsl_det.detector import defaults

    arms = [config.load(config.config_path(c), defaults.TREE, []).flat() for c in pipeline._ARMS.values()]
    assert {k for k in arms[0] if arms[0][k] != arms[1][k]} == {"MODEL.WEIGHTS", "OUTPUT_DIR"}
    for arm in arms:
        assert arm["MODEL.RESNETS.NORM"] == "BN"
        assert arm["MODEL.BACKBONE.FREEZE_AT"] == 0
        assert arm["MODEL.ROI_HEADS.NUM_CLASSES"] == 12


def test_trunk_of_the_pretraining_is_the_detector_s():
    from pretrain.training import defaults as pretraining
    from wsl_det.detector import defaults

    ours = config.load(config.config_path(pipeline._PRETRAIN), pretraining.TREE, []).MODEL
    theirs = config.load(config.config_path(pipeline._ARMS["candidate"]), defaults.TREE, []).MODEL.RESNETS
    assert (ours.DEPTH, ours.GROUPS, ours.WIDTH_PER_GROUP, ours.RES2_CHANNELS) == (
        theirs.DEPTH,
        theirs.NUM_GROUPS,
        theirs.WIDTH_PER_GROUP,
        theirs.RES2_OUT_CHANNELS,
    )
    assert theirs.STRIDE_IN_1X1 is False
