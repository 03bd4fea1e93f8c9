"""What a reader of foreign files is to the campaign."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutations

BYTES = (mutations.of_bytes,)
JSON = (mutations.of_json, mutations.of_json, mutations.of_bytes)
STORED = (mutations.of_zip, mutations.of_zip, mutations.of_bytes)
TAR = (mutations.of_tar, mutations.of_bytes)
YAML = (mutations.of_yaml, mutations.of_yaml, mutations.of_bytes)


@dataclass(frozen=True)
class Reader:
    """``make`` writes a good file into a folder and returns it, ``read`` reads it as a tool does.

    What ``read`` returns has been looked at: an AssertionError is a wrong result.
    """

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    mutations: tuple[Callable[[bytes, random.Random], bytes], ...]
