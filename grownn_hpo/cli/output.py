"""The file that `-o` names."""

from __future__ import annotations

import sys
from pathlib import Path

from grownn_hpo.errors import InputError
from grownn_hpo.store.commit import write_file


def refuse_output(output: Path, instead: str = "name a file") -> None:
    """InputError where no file can come to be at `output`, before anything is computed for it."""
    if not output.parent.is_dir():
        raise InputError(f"--output {output}: there is no folder {output.parent}")
    if output.exists() and not output.is_file():  # /dev/null, for whoever may replace it
        raise InputError(f"--output {output}: is no file that could be replaced; {instead}")


def write_output(output: Path, text: str) -> None:
    """Write it whole or not at all, and say so."""
    write_file(output, text.encode())
    print(f"wrote {output}", file=sys.stderr)
