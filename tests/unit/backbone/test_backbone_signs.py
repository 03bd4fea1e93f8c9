"""Files that have a plain ResNe(X)t's names: what else they may be, and where in a file the trunk may lie."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from argparse import Namespace

import numpy as np
import pytest
import torch

from tools import export_backbone
from wsl_det.backbone import artifact, export, layouts, pickles, signs, sources
from wsl_det.core import checkpoint, foreign
from wsl_det.errors import CheckpointError


@pytest.mark.parametrize(
    "name, word",
    [
        ("resnetblur50_bt_in1k", "blur"),
        ("resnetaa50_a1h-4cf422b3", "aa"),
        ("resnet50_gn_a1h2-8fe6c4d0", "gn"),
        ("ResNetBlurPool", "blur"),
        ("rn50_caffe-788b5fa3", "caffe"),
        ("rn50_msra-5891d200", "msra"),
        ("detectron2_r50", "detectron"),
    ],
)
def test_a_name_that_tells_of_another_function_is_refused(tmp_path, small_pth, name, word):
    path = small_pth.rename(tmp_path / f"{name}.pth")
    with pytest.raises(CheckpointError, match=rf"'{word}' in its name tells of .*--(convention|arch)"):
        sources.read(path, expect=None)
    assert sources.read(path, expect="any", convention="torchvision").because == "given on the command line"


@pytest.mark.parametrize("name", ["cutmix-200", "resnet_f8aa12c3", "sgn", "blurry", "caffeine", "0gn1a2b3"])
def test_words_within_words_and_hashes_tell_nothing(tmp_path, small_pth, name):
    path = small_pth.rename(tmp_path / f"{name}.pth")
    _, certified = export.export(sources.read(path), tmp_path / "b.pth")
    assert certified["convention"] == "assumed torchvision (not proven by the file)"


@pytest.mark.parametrize(
    "beside, word",
    [
        ({"arch": "resnet50_gn"}, "gn"),
        ({"hyper_parameters": {"aa_layer": "blurpool"}}, "blurpool"),
        ({"args": {"blur": True}}, "blur"),
        ({"argv": ["--norm", "gn", "--lr", "1"]}, "gn"),
        ({"meta": {"config": "model = dict(backbone=dict(style='caffe'))" + " " * 500}}, "caffe"),
    ],
)
def test_what_a_file_says_beside_its_tensors_counts(tmp_path, timm_resnext, beside, word):
    torch.save({"state_dict": timm_resnext.state_dict(), **beside}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=rf"'{word}' in '.*' tells of"):
        sources.read(tmp_path / "x.pth")
    quiet = {
        "classes": ["blur", "aa"] * 40,
        "args": {"blur": False, "aa_layer": None},
        "note": "long " * 100 + "gn in a head",
    }
    torch.save({"state_dict": timm_resnext.state_dict(), **quiet}, tmp_path / "x.pth")
    assert sources.read(tmp_path / "x.pth").wrapper == "state_dict"


def test_parts_that_are_named_without_end_are_looked_at_once(tmp_path, timm_resnext):
    many = [0]
    for _ in range(12):
        many = [many] * 1000
    torch.save(
        {"state_dict": timm_resnext.state_dict(), "args": many, "more": {"a": many}}, tmp_path / "x.pth"
    )
    assert sources.read(tmp_path / "x.pth").wrapper == "state_dict"


def test_metadata_of_safetensors_and_the_name_of_a_repository_count(tmp_path, timm_resnext):
    from safetensors.torch import save_file

    tensors = {k: v.contiguous() for k, v in timm_resnext.state_dict().items()}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"architecture": "resnetaa50"})
    with pytest.raises(CheckpointError, match=r"'aa' in 'metadata\.architecture'"):
        sources.read(tmp_path / "x.safetensors")
    hub = tmp_path / "models--timm--resnetblur50.bt_in1k" / "snapshots"
    hub.mkdir(parents=True)
    save_file(tensors, hub / "model.safetensors")
    with pytest.raises(CheckpointError, match="'blur' in its repository"):
        sources.read(hub / "model.safetensors")


def test_a_stem_for_pixels_of_0_to_255_or_bgr_is_seen_in_its_numbers(tmp_path, timm_resnext):
    state = timm_resnext.state_dict()
    torch.save({**state, "conv1.weight": state["conv1.weight"] / 57}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"expects 0-255; .*--convention torchvision\|msra"):
        sources.read(tmp_path / "x.pth")
    shy = state["conv1.weight"] * torch.tensor([0.7, 1.0, 1.2]).view(1, 3, 1, 1)
    torch.save({**state, "conv1.weight": shy}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="expects BGR"):
        sources.read(tmp_path / "x.pth")
    assert sources.read(tmp_path / "x.pth", convention="msra").convention.channel_order == "BGR"


def test_group_norm_is_named_where_statistics_lack_and_never_called_folded(tmp_path, timm_resnext):
    state = {k: v for k, v in timm_resnext.state_dict().items() if "running" not in k}
    torch.save(state, tmp_path / "plain.pth")
    with pytest.raises(CheckpointError, match="group norm") as caught:
        sources.read(tmp_path / "plain.pth")
    assert "--bn-folded" not in str(caught.value)
    assert sources.read(tmp_path / "plain.pth", bn_folded=True).bn == "folded"
    torch.save(state, tmp_path / "x_gn.pth")
    with pytest.raises(CheckpointError, match="'gn' in its name tells of group norm"):
        sources.read(tmp_path / "x_gn.pth", bn_folded=True, convention="torchvision")


def nested(name, state):
    """A trunk as self-supervised and detection trainers save it, with its wrapper and prefix."""
    heads = {"fc.0.weight": torch.zeros(8, 4), "fc.2.weight": torch.zeros(2, 8)}
    return {
        "moco": (
            {
                "state_dict": prefixed("module.encoder_q.", state | heads)
                | {"module.queue": torch.zeros(4, 4)}
            },
            ("state_dict", "module.encoder_q."),
        ),
        "swav": (
            prefixed("module.", state | {"projection_head.0.weight": torch.zeros(2, 2)})
            | {"module.prototypes.weight": torch.zeros(2, 2)},
            ("", "module."),
        ),
        "simsiam": (
            {
                "state_dict": prefixed("module.encoder.", state | heads)
                | {"module.predictor.0.weight": torch.zeros(1)},
                "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(1)}}},
            },
            ("state_dict", "module.encoder."),
        ),
        "vissl": (
            {
                "phase": 1,
                "classy_state_dict": {
                    "base_model": {"model": {"trunk": prefixed("_feature_blocks.", state), "heads": heads}}
                },
            },
            ("classy_state_dict.base_model.model.trunk", "_feature_blocks."),
        ),
        "mmdet": (
            {"state_dict": prefixed("backbone.", state) | {"neck.a.weight": torch.zeros(1)}},
            ("state_dict", "backbone."),
        ),
    }[name]


def prefixed(prefix, state):
    return {prefix + k: v for k, v in state.items()}


@pytest.mark.parametrize("name", ["moco", "swav", "simsiam", "vissl", "mmdet"])
def test_the_trunk_is_found_where_trainers_leave_it(tmp_path, timm_resnext, name):
    state = {k: v for k, v in timm_resnext.state_dict().items() if not k.startswith("fc.")}
    payload, (wrapper, prefix) = nested(name, state)
    torch.save(payload, tmp_path / "x.torch")
    source = sources.read(tmp_path / "x.torch")
    assert (source.wrapper, source.prefix) == (wrapper, prefix)
    assert torch.equal(source.weights["stem.conv1.weight"], state["conv1.weight"])
    dropped = {f.key: f.reason for f in source.fates if f.fate == "dropped"}
    last = {"moco": "module.queue", "swav": "module.prototypes.weight", "simsiam": "optimizer"}
    last |= {"vissl": "classy_state_dict.base_model.model.heads", "mmdet": "neck.a.weight"}
    assert last[name] in dropped and all(dropped.values())
    assert sources.read(tmp_path / "x.torch", wrapper=wrapper or None, prefix=prefix).prefix == prefix


def test_of_several_trunks_the_whole_one_is_taken_and_two_whole_ones_are_asked_about(tmp_path, timm_resnext):
    state = timm_resnext.state_dict()
    momentum = {k: v for k, v in state.items() if "running" not in k}
    torch.save({"model": state, "momentum": momentum}, tmp_path / "x.pth")
    assert sources.read(tmp_path / "x.pth").wrapper == "model"
    both = prefixed("module.encoder_q.", state) | prefixed("module.encoder_k.", state)
    torch.save({"state_dict": both}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"2 trunks; choose one:\n.*--prefix module\.encoder_q\."):
        sources.read(tmp_path / "x.pth")
    assert sources.read(tmp_path / "x.pth", prefix="module.encoder_k.").prefix == "module.encoder_k."


@pytest.mark.parametrize("key", ["conv2.weight", "layer1.0.conv2.1.filt", "maxpool.0.filt", "stem.0.weight"])
def test_what_stands_in_the_trunks_own_modules_is_never_dropped(tmp_path, timm_resnext, key):
    torch.save({**timm_resnext.state_dict(), key: torch.ones(2)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=f"(?s){key}.*another architecture"):
        sources.read(tmp_path / "x.pth")


@pytest.mark.parametrize("key", [0, 2.5, None, (1, 2)])
def test_keys_that_are_no_text_are_named(tmp_path, timm_resnext, key):
    torch.save({"model": {key: torch.zeros(1), **timm_resnext.state_dict()}}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=f"the key {re.escape(repr(key))} "):
        sources.read(tmp_path / "x.pth")


def test_a_detectors_config_says_which_pixels_it_wants(tmp_path, timm_resnext):
    from wsl_det.backbone import names

    state = {names.to_detectron2(k): v for k, v in timm_resnext.state_dict().items() if "fc" not in k}
    state = prefixed("backbone.bottom_up.", {k: v for k, v in state.items() if "batches" not in k})
    told = {"INPUT": {"FORMAT": "BGR"}, "MODEL": {"PIXEL_MEAN": [1.0, 2.0, 3.0], "PIXEL_STD": [1.0] * 3}}
    told["MODEL"]["RESNETS"] = {"STRIDE_IN_1X1": True}
    header = {"config": told, "backbone": {"licence": {"name": "BSD"}, "provenance": {"training_data": "IG"}}}
    torch.save({"model": state, "wsl_det": header}, tmp_path / "model_final.pth")
    made, certified = export.export(sources.read(tmp_path), tmp_path / "b.pth")
    assert made.meta["channel_order"] == "BGR" and made.meta["pixel_mean"] == [1.0, 2.0, 3.0]
    assert made.meta["stride_in_1x1"] is True and made.meta["licence"]["name"] == "BSD"
    assert certified["provenance"]["training_data"] == "IG, then a detector's"
    (tmp_path / "stock").mkdir()
    torch.save({"model": state, "iteration": 9}, tmp_path / "stock/model_final.pth")
    with pytest.raises(CheckpointError, match="--convention"):
        sources.read(tmp_path / "stock/model_final.pth")
    (tmp_path / "stock/config.yaml").write_text(json.dumps(told))
    assert sources.read(tmp_path / "stock").convention.pixel_mean == (1.0, 2.0, 3.0)


def save(path, value):
    torch.save(value, path)
    return path


@pytest.mark.parametrize("value", [Namespace(lr=1), np.float64(7)], ids=["Namespace", "numpy scalar"])
def test_foreign_objects_are_named_with_a_remedy_that_executes_nothing(tmp_path, value):
    path = save(tmp_path / "x.pth", {"model": {"a": torch.zeros(1)}, "args": value})
    name = "argparse.Namespace" if isinstance(value, Namespace) else "multiarray.scalar"
    with pytest.raises(CheckpointError, match=rf"{name}.*torch\.save\(model\.state_dict") as caught:
        checkpoint.load_weights(path)
    assert "weights_only" not in str(caught.value) and "\x1b" not in str(caught.value)
    torch.save({"args": value}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=name):
        checkpoint.load_weights(path)


OTHERS = {
    "a git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
    "an HTML page of 23 bytes": b"\n<!DOCTYPE html><html>\n",
    "a git-annex pointer": b"../../.git/annex/objects/x\n",
    "XML text": b"<?xml version='1.0'?><Error/>",
    "JSON text": b'{"message": "Not Found"}',
    "empty": b"",
    "a gzip file": b"\x1f\x8b\x08" + b"x" * 40,
    "a truncated archive": b"PK\x03\x04" + b"x" * 100,
}


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
@pytest.mark.parametrize("what", OTHERS)
def test_what_came_instead_of_weights_is_named(tmp_path, capsys, what, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(OTHERS[what])
    with pytest.raises(CheckpointError, match=f"is {what}"):
        sources.read(path)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_programs_zips_of_files_and_shards_are_named(tmp_path):
    scripted = torch.jit.trace(torch.nn.Identity(), torch.zeros(1))
    torch.jit.save(scripted, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="TorchScript program"):
        sources.read(tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("model/weights.pth", b"x")
    with pytest.raises(CheckpointError, match=r"zip of other files \(model/weights.pth\)"):
        sources.read(tmp_path / "x.pth")
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    with pytest.raises(CheckpointError, match="one of 2 shards; join them"):
        sources.read(tmp_path / "model-00001-of-00002.safetensors")


DEEP = b"(" * 200_000 + b"t" * 200_000
KEYS = {
    "deep": DEEP,
    "twice a level": b"K\x01q\0" + b"".join(b"h%ch%c\x86q%c" % (n, n, n + 1) for n in range(60)),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("form", ["key", "pair"])
def test_tuples_that_cannot_be_hashed_are_refused_unhashed(tmp_path, key, form, zipped):
    body = {
        "key": b"\x80\x02}(%sK\x01u." % KEYS[key],
        "pair": b"\x80\x02ccollections\nOrderedDict\n](%sK\x01\x86e\x85R." % KEYS[key],
    }[form]
    if zipped:
        path = save(tmp_path / "x.pth", {})
        with zipfile.ZipFile(path) as archive:
            records = {r.filename: archive.read(r) for r in archive.infolist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in records.items():
                archive.writestr(name, body if name.endswith("data.pkl") else data)
        with pytest.raises(CheckpointError, match="nested deeper"):
            checkpoint.load_weights(path)
    else:
        (tmp_path / "x.pkl").write_bytes(body)
        with pytest.raises(CheckpointError, match=r"a tuple stands as a key|cannot be read as a pickle"):
            pickles.read(tmp_path / "x.pkl")


def test_a_checkpoint_with_everything_that_trainers_save_is_read(tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.zeros(1, 3)).sum().backward()
    optimizer.step()
    names = tuple(f"class {n}" for n in range(2000))
    whole = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "meta": {"CLASSES": names}}
    for zipped in (True, False):
        torch.save(whole, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        assert checkpoint.load_weights(tmp_path / "x.pth")["meta"]["CLASSES"] == names


@pytest.mark.parametrize("number", [10**400, float("inf"), float("nan"), "9" * 5000, [], -1])
@pytest.mark.parametrize("key", ["blocks", "pixel_mean", "pixel_std"])
def test_numbers_beyond_their_type_in_a_file_of_ours_end_in_a_message(tmp_path, small_pth, key, number):
    made, _ = export.export(sources.read(small_pth), tmp_path / "b.pth")
    payload = torch.load(made.path)
    payload["meta"]["arch" if key == "blocks" else key] = (
        {**payload["meta"]["arch"], "blocks": [number] * 4} if key == "blocks" else [number] * 3
    )
    torch.save(payload, tmp_path / "c.pth")
    if key == "pixel_mean" and number == -1:
        return  # a mean may be below 0
    for read in (artifact.read, sources.read):
        with pytest.raises(CheckpointError):
            read(tmp_path / "c.pth")


def test_a_certificate_of_any_content_ends_in_a_message_or_is_passed_over(tmp_path, small_pth):
    beside = small_pth.with_suffix(".json")
    for text in ("[" * 100_000, '{"a": ' + "9" * 5000 + "}", "\udcff", "", '{"kind": NaN'):
        beside.write_bytes(text.encode(errors="surrogateescape"))
        code = export_backbone.main
        with pytest.raises(Exception, match="is not whole JSON") as caught:
            code([str(small_pth), str(tmp_path / "o.pth")])
        assert type(caught.value).__name__ == "DataError"
    for value in ([], 1, {"kind": "backbone certificate"}, {"kind": "other", "artifact": []}):
        beside.write_text(json.dumps(value))
        if value == {"kind": "backbone certificate"}:
            with pytest.raises(CheckpointError, match="certifies another file"):
                sources.read(small_pth)
        else:
            assert sources.read(small_pth).origin == {}


def test_half_a_character_in_a_key_is_written_escaped(tmp_path, timm_resnext):
    torch.save({**timm_resnext.state_dict(), "queue\ud800": torch.ones(1)}, tmp_path / "x.pth")
    export.export(sources.read(tmp_path / "x.pth"), tmp_path / "b.pth")
    kept = json.loads((tmp_path / "b.json").read_text())["keys"]
    assert any(fate["key"] == "queue\ud800" and fate["fate"] == "dropped" for fate in kept)


def test_a_classifier_of_absurd_shape_takes_no_memory(tmp_path, timm_resnext):
    state = {**timm_resnext.state_dict(), "fc.weight": torch.zeros(1).expand(10**6, 10**6)}
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="on a storage of 4 bytes"):
        sources.head(sources.read(tmp_path / "x.pth"))


def test_a_pickles_classifier_is_read_as_a_checkpoints(tmp_path, small_pth, timm_resnext):
    state = {k: v.numpy() for k, v in timm_resnext.state_dict().items()}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"model": state}, 4))
    pickled, saved = (sources.head(sources.read(p)) for p in (tmp_path / "x.pkl", small_pth))
    assert all(torch.equal(a, b) for a, b in zip(pickled, saved, strict=True))


def test_a_pickles_numbers_and_keys_stay_within_their_types(tmp_path, timm_resnext):
    state = {k: v.numpy() for k, v in timm_resnext.state_dict().items()}
    for value in ({**state, 7: np.zeros(1)}, {**state, "lr": 1 << 2000}):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps({"model": value}, 4))
        with pytest.raises(CheckpointError, match=r"the key 7|a number of 2001 bits"):
            sources.read(tmp_path / "x.pkl", convention="msra")


def test_offline_is_a_word_of_the_environment(monkeypatch):
    for value, meant in (("", False), ("0", False), ("1", True), ("yes", True)):
        monkeypatch.setenv(foreign.OFFLINE, value)
        assert foreign.offline() is meant


def test_every_function_and_its_words_are_whole_words():
    for known in (*signs.FUNCTIONS.values(), *signs.PIXELS.values()):
        assert all(signs.words(f"x-{word}_1.5") >= {word} for word in known)
    assert layouts.box({"a": {"b.c": {"d": {}}}}, "a.b.c.d") == {}
