#!/usr/bin/env bash
# Everything that only a GPU can say, in ten minutes: benchmarks/on_gpu.sh OUT [DEVICE]
#
# Nothing is fetched. What the machine lacks travels as wheels in .whl (ignored by git, 64 MiB at most); make them with
#   python -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
#       --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d .whl \
#       fvcore iopath yacs termcolor pycocotools msgspec nltk
# (fvcore, iopath and yacs have no wheel on some indexes: python -m pip wheel --no-deps -w .whl fvcore iopath yacs).
# OUT gets on_gpu.jsonl and on_gpu.md, a row as soon as it is known, and on_gpu.log, what the parts print.
# DEVICE cpu rehearses every part that a CPU can take, on tiny inputs.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${1:?"usage: benchmarks/on_gpu.sh OUT [cuda|cpu]"}
DEVICE=${2:-cuda}
PYTHON=${PYTHON:-python3}
mkdir -p "$OUT"
if ls .whl/*.whl >/dev/null 2>&1; then
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "${TMPDIR:-/tmp}/wsl_det_site" .whl/*.whl || exit 1
    export PYTHONPATH="${TMPDIR:-/tmp}/wsl_det_site${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
exec "$PYTHON" benchmarks/on_gpu.py --output "$OUT" --device "$DEVICE"
