from __future__ import annotations

import copy
import importlib.util
import io
import json
import pickle
import re
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace

from wsl_det import errors
from wsl_det.backbone import arch as arches
from wsl_det.backbone import artifact, conventions, names
from wsl_det.backbone.trunk import BLOCKS
from wsl_det.core import files
from wsl_det.errors import ConfigError, DataError
from wsl_det.zoo import catalogue, listing, resolve
from wsl_det.zoo.store import Store

ROOT = Path(__file__).parents[3]
WSL = [f"resnext101_32x{width}d_wsl" for width in (8, 16, 32, 48)]
_COMMAND = re.compile(r"# +(?:python tools/|wsl-det )(download_model|export_backbone)(?:\.py)? (\S+)(.*)")


def tool(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_the_shipped_catalogue_reads_and_holds_what_it_must():
    entries = catalogue.entries()
    assert set(WSL) <= set(entries)
    assert {"R-50", "R-101", "X-101-32x8d", "resnet50", "X-152-32x8d-IN5k", "resnext101_32x8d_in1k"} <= set(
        entries
    )
    assert {e.name for e in entries.values() if e.kind == "detector"} == {
        "mask_rcnn_R_50_FPN_1x",
        "mask_rcnn_R_50_FPN_3x",
        "mask_rcnn_R_101_FPN_3x",
        "mask_rcnn_X_101_32x8d_FPN_3x",
        "faster_rcnn_X_101_32x8d_FPN_3x",
    }


def test_hashtag_weights_are_non_commercial_and_fine_tuned_on_imagenet():
    for name in WSL + [n for n in catalogue.entries() if n.endswith(("_ssl", "_swsl"))]:
        entry = catalogue.find(name)
        assert (entry.licence.name, entry.licence.non_commercial) == ("CC BY-NC 4.0", True)
        assert (entry.fine_tuned_on_in1k, entry.convention) == ("yes", "torchvision")


def test_no_two_entries_share_a_file_name_with_different_content():
    seen = [e.file_name for e in catalogue.entries().values()]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("name", WSL)
def test_names_files_and_architectures_agree(name):
    entry = catalogue.find(name)
    arch = arches.Architecture(
        blocks=BLOCKS[entry.arch["depth"]],
        groups=entry.arch["groups"],
        width_per_group=entry.arch["width_per_group"],
    )
    for claim in (entry.name, entry.arch_name, Path(entry.file_name).stem):
        arches.check_claim(arch, claim, "catalogue")


def test_every_convention_is_known():
    assert all(e.convention in conventions.KNOWN for e in catalogue.entries().values())


def test_detectron2s_trunks_bring_their_statistics():
    """MODEL_ZOO.md: "we do not fuse BatchNorm into an affine layer"; lost ones must not be filled in."""
    assert {catalogue.find(n).bn for n in ("R-50", "R-101", "X-101-32x8d")} == {"statistics"}
    assert catalogue.find("X-152-32x8d-IN5k").bn == "folded"  # Detectron's format


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("resnet18", "ResNet18_Weights.IMAGENET1K_V1"),
        ("resnet50", "ResNet50_Weights.IMAGENET1K_V1"),
        ("resnet101", "ResNet101_Weights.IMAGENET1K_V1"),
        ("resnext50_32x4d", "ResNeXt50_32X4D_Weights.IMAGENET1K_V1"),
        ("resnext101_32x8d_in1k", "ResNeXt101_32X8D_Weights.IMAGENET1K_V1"),
        ("resnext101_32x8d_in1k_v2", "ResNeXt101_32X8D_Weights.IMAGENET1K_V2"),
    ],
)
def test_torchvisions_entries_say_what_torchvision_says(name, weights):
    from torchvision.models import get_weight

    theirs, ours = get_weight(weights), catalogue.find(name)
    assert ours.url == theirs.url
    measured = theirs.meta["_metrics"]["ImageNet-1K"]
    assert (ours.accuracy["top1"], ours.accuracy["top5"]) == (measured["acc@1"], measured["acc@5"])
    # Their sizes are in MiB; the size computed here is in MB of the numbers alone.
    assert float(listing._size(ours).strip("~")) == pytest.approx(
        theirs.meta["_file_size"] * 1.048576, rel=0.01
    )


def test_the_sizes_of_trunks_are_those_of_models():
    built = {}
    for entry in catalogue.entries().values():
        depth, basic = entry.arch["depth"], entry.arch["depth"] < 50
        arch = arches.Architecture(
            blocks=BLOCKS[depth],
            block="basic" if basic else "bottleneck",
            groups=entry.arch["groups"],
            width_per_group=entry.arch["width_per_group"],
            res2_channels=64 if basic else 256,
        )
        with torch.device("meta"):
            numbers = arch.build(norm="FrozenBN").state_dict().values()
        built[entry.arch_name] = sum(t.numel() for t in numbers)
    assert built == listing.TRUNKS


@pytest.mark.parametrize("name", [n for n in catalogue.entries() if catalogue.find(n).bytes])
def test_computed_sizes_come_close_to_published_ones(name):
    entry = catalogue.find(name)
    computed = float(listing._size(replace(entry, bytes=None)).strip("~"))
    assert computed == pytest.approx(entry.bytes / 1e6, rel=0.01)


def test_every_entry_can_be_shown(capsys):
    for name, entry in catalogue.entries().items():
        assert tool("download_model")(["--show", name]) == 0
        text = capsys.readouterr().out
        for fact in (entry.url, entry.licence.url, entry.training_data, entry.note or "", "std [", "stride"):
            assert fact in text
    assert errors.run(tool("download_model"), ["--show", "resnet5O"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_the_readmes_table_is_the_catalogues():
    """Make it again with: wsl-det download_model --list --markdown"""
    assert listing.table(markdown=True) in (ROOT / "docs/zoo.md").read_text()


def broken(**changes):
    value = copy.deepcopy(json.loads(catalogue.PATH.read_text()))
    value["models"][0] |= changes
    return value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "http://example.org/ig_resnext101_32x8-c38310e5.pth"}, r"https.*url"),
        ({"url": "https://example.org/other.pth"}, "does not carry the hash prefix"),
        ({"hash": {"algorithm": "sha256", "prefix": "xyz"}}, "hash_prefix"),
        ({"sha256": "c38310e5"}, r"\{64\}.*sha256"),
        ({"bytes": 0}, r"`int` >= 1 - at .*bytes"),
        ({"convention": "caffe"}, "'caffe' - at .*convention"),
        ({"fine_tuned_on_in1k": "maybe"}, "fine_tuned_on_in1k"),
        ({"licence": "WTFPL"}, "not whole"),
        ({"arch": {"depth": 101}}, "arch"),
        ({"note": 3}, "note"),
        ({"accuracy": {"top1": 82.7}}, "accuracy"),
        ({"accuracy": {"dataset": "d", "source": "s", "top1": 827}}, "accuracy"),
        ({"training_data": ""}, "training_data"),
        ({"colour": "red"}, "unknown field `colour`"),
        ({"name": "resnext101_32x16d_wsl"}, "twice"),
    ],
)
def test_a_broken_entry_is_named(changes, message):
    with pytest.raises(DataError, match=message):
        catalogue.parse(broken(**changes), "catalogue")


def test_unknown_names_get_the_nearest_ones():
    with pytest.raises(ConfigError, match="resnext101_32x8d_wsl"):
        catalogue.find("resnext101_32x8d_wls")


def test_list_is_a_table_with_a_row_for_every_model(capsys):
    assert tool("download_model")(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(catalogue.entries())
    assert all(
        line.startswith(e.name) for line, e in zip(lines[1:], catalogue.entries().values(), strict=True)
    )
    assert tool("download_model")(["--list", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("| name | architecture |")


def test_the_tool_asks_for_the_licence_before_the_network(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert errors.run(tool("download_model"), [WSL[0], "--dest", str(tmp_path)]) == 2
    assert "--accept-license" in capsys.readouterr().err
    monkeypatch.setenv("WSL_DET_OFFLINE", "1")
    assert (
        errors.run(tool("download_model"), ["zoo://" + WSL[0], "--dest", str(tmp_path), "--accept-license"])
        == 2
    )
    assert "WSL_DET_OFFLINE" in capsys.readouterr().err


def test_commands_in_the_heads_of_configs_name_real_models():
    """download_model NAME and export_backbone SOURCE OUTPUT, as users will paste them."""
    commands = [
        (config, *m.groups())
        for config in sorted(ROOT.glob("configs/**/*.yaml"))
        for m in map(_COMMAND.match, config.read_text().splitlines())
        if m
    ]
    assert commands
    downloaded: dict[Path, str] = {}
    for config, command, first, rest in commands:
        if command == "download_model":
            downloaded[config] = catalogue.find(first).file_name
        elif config in downloaded:
            assert Path(first).name == downloaded[config], config
            assert rest.split()[0].endswith(".pth"), config


# --- zoo:// ----------------------------------------------------------------------------------------


@pytest.fixture
def trunk_file() -> dict[str, torch.Tensor]:
    from timm.models import resnet

    model = resnet.ResNet(
        resnet.Bottleneck, (1, 1, 1, 1), cardinality=2, base_width=32, channels=(8, 16, 32, 64), num_classes=2
    )
    rng = torch.Generator().manual_seed(0)
    for key, value in model.state_dict().items():
        if "running_mean" in key:
            value.normal_(0, 0.1, generator=rng)
    return model.state_dict()


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A function that puts a file into a zoo folder as if it had been downloaded under an entry."""

    def put(name: str, write, **changes) -> Path:
        entry = replace(
            catalogue.find("resnet50"),
            name=name,
            url=f"https://example.org/{name}",
            hash_algorithm=None,
            hash_prefix=None,
            arch={"depth": None, "groups": 2, "width_per_group": 4},
            **changes,
        )
        monkeypatch.setattr(catalogue, "entries", lambda: {name: entry})
        monkeypatch.setattr(catalogue.Entry, "arch_name", "any")
        write(tmp_path / name)
        Store(tmp_path).get(entry)
        return tmp_path

    return put


def test_a_trunk_becomes_an_artifact_with_the_catalogues_facts(shelf, trunk_file):
    folder = shelf("small.pth", lambda p: torch.save(trunk_file, p))
    made = resolve.weights("zoo://small.pth", dest=folder)
    assert Path(made) == folder / "small.pth.pth"
    read = artifact.read(made)
    assert read.meta["licence"]["name"] == "torchvision"
    assert read.meta["provenance"]["fine_tuned_on_in1k"] == "yes"
    before = Path(made).stat().st_mtime_ns
    assert resolve.weights("zoo://small.pth", dest=folder) == made
    assert Path(made).stat().st_mtime_ns == before


def test_a_published_pickle_needs_no_flags(shelf, trunk_file, tmp_path):
    state = {names.to_detectron2(k): v.numpy() for k, v in trunk_file.items() if not k.startswith("fc.")}
    state = {k: v for k, v in state.items() if "running" not in k and "num_batches" not in k}
    folder = shelf(
        "X.pkl", lambda p: p.write_bytes(pickle.dumps({"model": state})), convention="fair", bn="folded"
    )
    source, facts = resolve.source(str(folder / "X.pkl"))
    assert (source.convention.name, source.bn, facts.training_data) == ("fair", "folded", "ImageNet-1k")


def test_a_changed_file_is_not_the_catalogues(shelf, trunk_file):
    folder = shelf("small.pth", lambda p: torch.save(trunk_file, p))
    torch.save({**trunk_file, "fc.bias": torch.ones(2)}, folder / "small.pth")
    assert resolve.known(folder / "small.pth") is None


def test_published_digits_identify_a_file(monkeypatch, tmp_path):
    path = tmp_path / "ig_resnext101_32x8-c38310e5.pth"
    path.touch()
    monkeypatch.setattr(files, "sha256", lambda p: "c38310e5" + "0" * 56)
    assert resolve.known(path) == catalogue.find(WSL[0])
    monkeypatch.setattr(files, "sha256", lambda p: "0" * 64)
    assert resolve.known(path) is None


def test_other_names_pass_through():
    assert resolve.weights("weights/a.pth") == "weights/a.pth"
    assert resolve.weights("") == ""
    with pytest.raises(ConfigError, match="the zoo has no"):
        resolve.weights("zoo://nothing")
