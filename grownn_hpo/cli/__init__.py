"""`grownn …`: wires the rooms together and holds no logic. Heavy imports wait until a command needs them."""

from __future__ import annotations

import io
import sys

from grownn_hpo.cli.wording import printable
from grownn_hpo.errors import GrowNNError, Stopped


def main() -> None:
    """The console script: runs a command and turns its error into a message and an exit code."""
    from grownn_hpo.cli.commands import app
    from grownn_hpo.cli.outlet import outlive_readers

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # a path that is no text goes out as it came in
    outlive_readers()
    try:
        try:
            app(standalone_mode=True)
        finally:
            sys.stdout.flush()
    except GrowNNError as error:
        print(f"grownn: {printable(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        from grownn_hpo.store.storage import STORAGE_ERRORS, failure

        if error.errno not in STORAGE_ERRORS:
            raise
        told = f"{failure(error)}; then go on with the same command, or grownn resume"
        print(f"grownn: {printable(told)}", file=sys.stderr)
        sys.exit(Stopped.exit_code)
