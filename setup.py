"""Packaging: ``wsl_det`` and ``pretrain``, with the configs and the tools inside the wheel.

``configs/``, ``tools/`` and ``docs/scaling/`` stay folders of the checkout and become packages of the
installed one, in which configs, tools and study files are found by name.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "wsl_det" / "__init__.py").read_text())
assert VERSION, "wsl_det/__init__.py names no __version__"

# An index of packages has neither docs/ nor pictures: links within the repository become their text.
README = re.sub(r"^!\[.*\n", "", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.M)
README = re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", README)

setup(
    name="wsl_det",
    version=VERSION[1],
    description="What hashtag pretraining buys a detector: pretraining, Mask R-CNN transfer, gain report",
    long_description=README,
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords="object detection, pretraining, hashtags, weak supervision, COCO, LVIS, Mask R-CNN",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["wsl_det", "wsl_det.*", "pretrain", "pretrain.*"]),
        "wsl_det.configs",
        "wsl_det.tools",
        "wsl_det.docs.scaling",
    ],
    package_dir={
        "wsl_det.configs": "configs",
        "wsl_det.tools": "tools",
        "wsl_det.docs.scaling": "docs/scaling",
    },
    package_data={
        "wsl_det": ["**/*.json", "**/*.html", "**/*.css", "**/*.js", "**/*.txt", "**/*.yaml"],
        "wsl_det.configs": ["*.yaml", "*/*.yaml"],
        "wsl_det.docs.scaling": ["*.yaml", "results/*.json"],
        "pretrain": ["vocabulary/data/*", "*/*.html"],
    },
    install_requires=[
        # 2.6 is the first torch whose load() is safe by default. 2.13.0 has a CPU-only wheel on some mirrors,
        # with which torchvision's operators do not load.
        "torch>=2.6,!=2.13.0",
        "torchvision>=0.21",
        "timm>=1.0.9",
        "fvcore>=0.1.5.post20221221",
        "pycocotools>=2.0.8",
        "nltk>=3.10",
        "opencv-python-headless>=4.8",
        "numpy>=1.26",
        "scipy>=1.11",
        "polars>=1.20",
        "msgspec>=0.19",
        "filelock>=4.3",
        "fsspec>=2024.6",
        "numba>=0.60",
        "pillow>=10.1",
        "pyyaml>=6.0",
        "safetensors>=0.4.3",
        "jinja2>=3.1",
        "matplotlib>=3.8",
        "tensorboard>=2.15",
        "tqdm>=4.66",
    ],
    extras_require={
        # Posts as parquet and as .zst; both ask for it by name when it is missing.
        "posts": ["pyarrow>=15", "zstandard>=0.22"],
        # --scheduler: the work of a map over files on a Dask cluster.
        "cluster": ["dask>=2024.4", "distributed>=2024.4"],
        # INPUT.REGION_DECODE: the wheel brings libjpeg-turbo 3, of which pretraining uses the library alone.
        "fast": ["turbojpeg>=0.0.2"],
        # Addresses: s3://, gs://, hf:// and https://, and publishing.
        "s3": ["s3fs>=2024.6"],
        "gs": ["gcsfs>=2024.6"],
        "hf": ["huggingface_hub>=0.24"],
        "http": ["aiohttp>=3.9"],
        # find_duplicates --self-search faiss.
        "duplicates": ["faiss-cpu>=1.8"],
        # make docs.
        "docs": ["mkdocs-material>=9.5,<10", "mkdocstrings[python]>=0.26"],
        "dev": [
            "turbojpeg>=0.0.2; platform_machine == 'x86_64' and python_version < '3.13'",
            "setuptools>=68",
            "pytest>=8",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "ruff>=0.9",
            "mypy>=1.11",
            "types-PyYAML",
            "types-tqdm",
            "webdataset>=0.2.100",
            "pyarrow>=15",
            "zstandard>=0.22",
            "dask>=2024.4",
            "distributed>=2024.4",
            "s3fs>=2024.6",
            "moto[server,s3]>=5.0.20",
            "aiohttp>=3.9",
            "huggingface_hub>=0.24",
        ],
    },
    entry_points={"console_scripts": ["wsl-det = wsl_det.cli:entry"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Intended Audience :: Science/Research",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
