"""`grownn …`: wires the rooms together and holds no logic. Heavy imports wait until a command needs them."""

from __future__ import annotations

import sys

from grownn_hpo.errors import GrowNNError, Stopped


def main() -> None:
    """The console script: runs a command and turns its error into a message and an exit code."""
    from grownn_hpo.cli.commands import app
    from grownn_hpo.cli.outlet import outlive_readers

    outlive_readers()
    try:
        try:
            app(standalone_mode=True)
        finally:
            sys.stdout.flush()
    except GrowNNError as error:
        print(f"grownn: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        from grownn_hpo.store.storage import STORAGE_ERRORS, failure

        if error.errno not in STORAGE_ERRORS:
            raise
        print(f"grownn: {failure(error)}; then go on with the same command, or grownn resume", file=sys.stderr)
        sys.exit(Stopped.exit_code)
