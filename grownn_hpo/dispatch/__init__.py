"""Jobs in processes of their own, on this machine's cores or a cluster's; nothing here knows of studies.

Dask is imported only where a Dask dispatcher is opened.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from grownn_hpo.dispatch.dispatcher import Desk, Dispatcher, Inline, Preflight
from grownn_hpo.dispatch.endings import Died, Ending, Job, Lost, OutOfMemory, Raised, Returned, Stalled
from grownn_hpo.errors import GrowNNError
from grownn_hpo.spec.cluster import SlurmProfile

__all__ = [
    "Desk",
    "Died",
    "Dispatcher",
    "Ending",
    "Inline",
    "Job",
    "Lost",
    "OutOfMemory",
    "Preflight",
    "Raised",
    "Returned",
    "Stalled",
    "open_dispatcher",
    "open_slurm",
]


def open_dispatcher(
    workers: int, inline: bool, preload: Sequence[str] = (), preflight: Preflight | None = None
) -> Dispatcher:
    """A dispatcher on this machine: `inline`, one slot without Dask, else `workers` Dask workers.

    `preload` names the modules that are imported once per slot, before attempts are forked from there; one that cannot
    be imported is passed over. `preflight` is what each slot must pass first. Raises GrowNNError where the kernel is
    not Linux, and if the workers do not start.
    """
    if sys.platform != "linux":
        raise GrowNNError(
            f"platform = {sys.platform}: attempts are watched by means of Linux; run in a Linux container"
        )
    if workers < 1:
        raise ValueError(f"workers = {workers}: must be at least 1")
    if inline:
        return Inline(preload, preflight)
    from grownn_hpo.dispatch.local import DaskLocal  # Dask takes half a second to import

    return DaskLocal(workers, preload, preflight)


def open_slurm(
    profile: SlurmProfile, label: str, folder: Path, preload: Sequence[str] = (), preflight: Preflight | None = None
) -> Dispatcher:
    """A dispatcher whose slots are in Slurm jobs; see `SlurmDispatcher`. Raises Stopped if Slurm does not answer."""
    from grownn_hpo.dispatch.slurm import SlurmDispatcher

    return SlurmDispatcher(profile, label, folder, preload, preflight)
