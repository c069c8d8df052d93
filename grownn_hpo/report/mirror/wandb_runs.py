"""Weights & Biases runs, offline: one per lineage, for `wandb sync` to upload. Nothing here reaches the network."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from grownn_hpo.report.mirror.series import lineages
from grownn_hpo.report.mirror.view import ArmView


def write_wandb(arms: Sequence[ArmView], folder: Path) -> None:
    """Writes `wandb/offline-run-*` for every lineage with a finished segment; their x axis is `global_step`, env steps.

    The seeds of a configuration are one group. About a second a run: each is a session of W&B's own service.
    """
    with _private():
        import wandb

        settings = wandb.Settings(
            mode="offline",
            console="off",
            silent=True,
            symlink=False,
            disable_code=True,
            disable_git=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
        )
        for arm in arms:
            for config, seed, scalars in lineages(arm):
                group = f"{arm.name}/c{config:04d}"
                with wandb.init(
                    project=arm.study,
                    dir=folder,
                    id=f"{arm.name}-c{config:04d}-s{seed}",
                    name=f"{group}/s{seed}",
                    group=group,
                    job_type=arm.name,
                    config={**arm.record.configurations[config], "arm": arm.name, "config": config, "seed": seed},
                    settings=settings,
                ) as run:
                    run.define_metric("*", step_metric="global_step")
                    for env_steps, together in groupby(scalars, key=lambda s: s.env_steps):
                        run.log({"global_step": env_steps, **{s.tag: s.value for s in together}})
        wandb.teardown()  # its service would go on writing to a folder that is about to be moved


@contextlib.contextmanager
def _private() -> Iterator[None]:
    """W&B without its reports of errors, and with its cache, where its service logs, in a folder that is then gone."""
    with tempfile.TemporaryDirectory() as cache:
        wanted = {"WANDB_ERROR_REPORTING": "false", "WANDB_CACHE_DIR": cache}
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
