"""One family of errors whose text is a small letter to the user: found, expected, what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence


class WslError(Exception):
    """A problem the user can mend; tools print its text on stderr and exit with code 2."""


class ConfigError(WslError):
    """A configuration key, value or command-line argument that cannot be honoured."""


class DataError(WslError):
    """Posts, images, annotations or predictions that break the rules of their format."""


class CheckpointError(WslError):
    """Weights or a run folder that do not fit what is asked of them."""


class EngineError(WslError):
    """A detection engine that is absent, broken, or unable to do what the config asks."""


class DownloadError(WslError):
    """A file that could not be fetched whole and verified."""


def run(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Exit code of ``main``: a ``WslError`` becomes its message on stderr and code 2.

    A file that cannot be opened or written is the user's to mend too. Anything else is our
    bug and keeps its traceback.
    """
    try:
        return main(argv)
    except WslError as error:
        print(f"error: {error}", file=sys.stderr)
    except BrokenPipeError:
        # The reader (head, less) left; writing more would only raise again at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror or error}{where}; check the path and its rights", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept", file=sys.stderr)
        return 130
    return 2
