"""A device or --dist-url: what can be used here, or one message that names it."""

from __future__ import annotations

import socket

import pytest
import torch

from wsl_det.core import dist
from wsl_det.errors import ConfigError, WslError


def test_the_cpu_can_be_used() -> None:
    assert dist.device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:99", "gpu", "mps", "meta", "xla", "cuda:9999999999", ""])
def test_what_is_not_here_is_named_with_the_flag(name: str) -> None:
    if name == "cuda" and torch.cuda.is_available():
        pytest.skip("a GPU is here")
    for flag in ("--device", "MODEL.DEVICE"):
        with pytest.raises(ConfigError, match=f"{flag} {name} cannot be used .*{flag} cpu"):
            dist.device(name, flag)


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:29500", "tcp://host", "tcp://host:0", "tcp://host:99999", "tcp://:80", "http://h:80", ""],
)
def test_an_address_without_scheme_or_port_is_named(url: str) -> None:
    with pytest.raises(ConfigError, match=f"--dist-url is '{url}'; expected auto, or tcp://HOST:PORT"):
        dist.launch(print, num_gpus=2, dist_url=url)


def test_several_processes_do_not_share_one_numbered_device() -> None:
    with pytest.raises(ConfigError, match="cuda:1 is for one process"):
        dist.launch(print, num_gpus=2, device="cuda:1")


@pytest.mark.slow
def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"--dist-url {url}.*address already in use"):
            dist.launch(print, num_gpus=2, dist_url=url)


def test_a_full_gpu_is_one_message_with_what_to_lower() -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")

    with pytest.raises(
        WslError, match=r"no memory left .*Tried to allocate 2\.00 GiB.* SOLVER\.IMS_PER_BATCH"
    ):
        dist.launch(full)
