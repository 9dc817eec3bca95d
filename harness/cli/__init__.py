"""The command line: parses, calls the API, prints. Imports nothing heavy until a command runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

DEBUG_FLAG = "--debug"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits: 0 ok, 1 failed cells or an error, 2 usage, 3 a missing piece,
    130 interrupted. `--debug`, anywhere on the line, shows tracebacks."""
    from harness.cli.app import make_app
    from harness.cli.console import print_error
    from harness.errors import HarnessError
    from harness.plugins import PluginHost

    # OpenMP's threads spin while they wait, which on a busy machine takes the cores from those
    # that work. A short spin costs nothing on an idle one; benchmarks/speed has the figures.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG_FLAG in given
    try:
        app = make_app(PluginHost.discover())
        app([argument for argument in given if argument != DEBUG_FLAG])
    except HarnessError as error:
        if debug:
            raise
        print_error(error.message, error.hint)
        sys.exit(error.exit_code)
    except Exception as error:
        if debug:
            raise
        print_error(f"{type(error).__name__}: {error}", f"Run again with {DEBUG_FLAG} for details.")
        sys.exit(1)
