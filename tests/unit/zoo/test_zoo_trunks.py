"""The list of named trunks: what timm's own configuration says, five kinds of supervision, no sizes."""

from __future__ import annotations

import pytest
from timm.models import get_pretrained_cfg

from wsl_det.backbone import timm_models
from wsl_det.zoo import trunks


def test_every_entry_is_as_timm_has_it():
    known = trunks.entries()
    assert len(known) > 30 and {one.supervision for one in known.values()} == set(trunks.KINDS)
    for name, one in known.items():
        config = get_pretrained_cfg(name)
        assert timm_models.is_published(name), name
        assert one.licence == config.license and one.source.startswith("https://"), name


@pytest.mark.parametrize("name", ["regnety_160.swag_ft_in1k", "vit_base_patch16_clip_224.openai"])
def test_an_entry_is_a_trunk(name):
    assert timm_models.declared(name).divisor in (16, 32)


def test_the_table_has_a_row_for_each():
    assert len(trunks.table().splitlines()) == len(trunks.entries()) + 2
