"""Memory does not grow with the posts, nor with the distinct hashtags."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
CODE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (1_500_000_000, 1_500_000_000))
from tools import build_vocab
code = build_vocab.main(sys.argv[1:])
print("peak MB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "num_posts"), [("p.jsonl", 1_000_000), ("p.csv", 200_000)])
def test_ten_hashtags_a_post_that_never_come_back(tmp_path, name, num_posts):
    """Ten million distinct hashtags from JSON lines, two million from a table."""
    with open(tmp_path / name, "w") as file:
        file.write("id,caption\n" if name == "p.csv" else "")
        for post in range(num_posts):
            tags = "".join(f" #t{post:x}q{number}z" for number in range(9))
            text = f"{tags} #noise{post % 1000} #brown_bear"
            file.write(
                f"{post},{text}\n" if name == "p.csv" else f'{{"id": "{post}", "caption": "{text}"}}\n'
            )
    words = ["--posts", name, "--kind", "in1k", "--workers", "1", "--output", "vocab.json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # 600 MB hold the interpreter, WordNet, polars and what is remembered.
    assert int(done.stdout.rpartition("peak MB")[2]) < 600
    value = json.loads((tmp_path / "vocab.json").read_text())
    assert value["meta"]["counts"]["hashtags"] == 11 * num_posts
    assert [(c["name"], c["count"]) for c in value["classes"]] == [("brown_bear", num_posts)]
    page = (tmp_path / "vocab.html").read_text()
    assert f"{10 * num_posts:,}" in page and "the sums are exact" in page
    assert "noise0" in page  # what comes back is found among all that does not
