"""All readers of foreign files, by the group that is tried in one program."""

from __future__ import annotations

import annotation_files
import post_files
import setting_files
import shard_files
import weight_files
from reader import Reader

GROUPS: dict[str, dict[str, Reader]] = {
    "annotations": annotation_files.READERS,
    "settings": setting_files.READERS,
    "weights": weight_files.READERS,
    "shards": shard_files.READERS,
    "posts and photos": post_files.READERS,
}
ALL = {name: reader for group in GROUPS.values() for name, reader in group.items()}
