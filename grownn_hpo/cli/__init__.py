"""`grownn …`: wires the rooms together and holds no logic. Heavy imports wait until a command needs them."""

from __future__ import annotations

import sys

from grownn_hpo.errors import GrowNNError, Stopped


def main() -> None:
    """The console script: runs a command and turns its error into a message and an exit code."""
    from grownn_hpo.cli.commands import app

    try:
        app(standalone_mode=True)
    except GrowNNError as error:
        print(f"grownn: {printable(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        from grownn_hpo.store.commit import STORAGE_ERRORS

        if error.errno not in STORAGE_ERRORS:
            raise
        told = f"the storage failed: {error}; what was committed is kept: make room, and go on"
        print(f"grownn: {printable(told)}", file=sys.stderr)
        sys.exit(Stopped.exit_code)


def printable(text: str) -> str:
    """`text` for a terminal: what a file or a name held must not move its cursor or change its colours."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
