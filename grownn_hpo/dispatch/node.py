"""What a worker job runs on its node: Dask's own worker, listening on one address and no other."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import dask
from distributed.cli.dask_worker import main as dask_worker
from distributed.comm.addressing import get_address_host
from distributed.utils import get_ip

from grownn_hpo.dispatch.workers import CONFIG


def main(arguments: Sequence[str]) -> None:
    """Run `dask worker` with these arguments, the driver's address first."""
    words = list(arguments)
    if "--interface" not in words:
        # The address that leads to the driver. Told neither, a worker would listen on every interface there is.
        words += ["--host", get_ip(get_address_host(words[0]))]
    dask.config.set(CONFIG)
    dask_worker(words)


if __name__ == "__main__":
    main(sys.argv[1:])
