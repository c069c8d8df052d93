"""`grownn export --policy`: an incumbent's trained policy as a file that runs without this package."""

from __future__ import annotations

import sys
from pathlib import Path

from grownn_hpo.acting.choosing import choose
from grownn_hpo.acting.policy import export_policy, refuse_policy
from grownn_hpo.cli.output import refuse_output
from grownn_hpo.errors import InputError
from grownn_hpo.report import wording
from grownn_hpo.store.commit import write_file


def export(path: Path, policy: Path, output: Path | None, seed: int | None, results: Path) -> None:
    """Write the policy of the incumbent at `path` to the file `policy`."""
    if output is not None:
        raise InputError(f"--output {output}: the incumbent's file and --policy {policy} are two; write one at a time")
    refuse_output(policy)
    refuse_policy(policy.suffix)
    trained = choose(path, results).agent(seed)
    data = export_policy(trained, policy.suffix)
    write_file(policy, data)
    result, probe = trained.result, trained.agent.probe
    print(
        f"wrote {policy}: configuration {result.segment.config}, seed {result.segment.seed}, after"
        f" {wording.env_steps(result.env_steps)}, mean return {wording.number(result.mean_return)}; it acts"
        f" as the agent does on {wording.count(len(probe), 'stored observation')}",
        file=sys.stderr,
    )
