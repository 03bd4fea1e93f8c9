"""``python -m wsl_det TOOL ...`` is ``wsl-det TOOL ...``."""

import sys

from wsl_det.cli import entry

sys.exit(entry())
