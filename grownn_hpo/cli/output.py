"""Where a command may write the file that `-o` names."""

from __future__ import annotations

from pathlib import Path

from grownn_hpo.errors import InputError


def refuse_output(output: Path, instead: str = "name a file") -> None:
    """InputError where no file can come to be at `output`, before anything is computed for it."""
    if not output.parent.is_dir():
        raise InputError(f"--output {output}: there is no folder {output.parent}")
    if output.exists() and not output.is_file():  # /dev/null, for whoever may replace it
        raise InputError(f"--output {output}: is no file that could be replaced; {instead}")
