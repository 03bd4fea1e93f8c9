"""What the site needs beyond docs/: the README and its like, the links, the demo's pages as they are.

mkdocs calls the two functions. A link from any page is resolved as it stands in the repository; what it leads
to is a page of the site, or a file that is copied to files/.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
MOVED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
    "benchmarks/README.md": "benchmarks.md",
}
EXAMPLES = {
    "report/gain.html": "The gain report: what the hashtag trunk gains over random numbers",
    "pages/cross/cross.html": "Cross-scoring: boxes of one detector under the classifier of the other",
    "vocab.html": "The vocabulary: which hashtags became which classes",
    "pages/scaling/scaling.html": "More photos or a larger trunk: sixteen pretrainings",
}
_LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages that lie elsewhere in the repository, and those of the demo in $DEMO."""
    for source, page in MOVED.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    demo = Path(os.environ.get("DEMO", ROOT / "demo"))
    lines = [
        "# Pages of the demo",
        "",
        "As the tools wrote them; each is one file that asks for nothing.",
        "",
    ]
    for name, title in EXAMPLES.items():
        if not (demo / name).is_file():
            raise SystemExit(f"{demo / name} is not there; `make docs` makes it from the demo first")
        target = "examples/" + Path(name).name
        files.append(File.generated(config, target, abs_src_path=str(demo / name)))
        lines.append(f"- [{title}]({target})")
    files.append(File.generated(config, "examples.md", content="\n".join(lines) + "\n"))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """The page with its links as the site needs them."""
    origins = {there: here for here, there in MOVED.items()}
    origin = Path(origins.get(page.file.src_uri, "docs/" + page.file.src_uri))
    here = os.path.dirname(page.file.src_uri)

    def mend(link: re.Match[str]) -> str:
        before, target, fragment, after = link.groups()
        if ":" in target or page.file.src_uri == "examples.md":
            return link[0]
        path = os.path.normpath(origin.parent / target)
        there = MOVED.get(path, path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}")
        known = files.get_file_from_path(there)
        if (known is None or known.inclusion.is_excluded()) and (ROOT / path).is_file():
            there = f"files/{path}"
            if files.get_file_from_path(there) is None:
                text = (ROOT / path).read_text(encoding="utf-8")
                files.append(File.generated(config, there, content=text))
        return f"{before}{os.path.relpath(there, here or '.')}{fragment or ''}{after}"

    # Links in code are no links.
    parts = re.split(r"(^(?: {4}[^\n]*\n?)+|```.*?```|`[^`\n]*`)", markdown, flags=re.S | re.M)
    return "".join(part if i % 2 else _LINK.sub(mend, part) for i, part in enumerate(parts))
