"""`grownn` many times over without its imports: each run is forked from one process that has them behind it.

A run is the program's own `main` in a process and a session of its own. What it would start as a fresh interpreter, the
launcher of attempts, is forked as well; everything else is as it always is. A child that is forked has the parent's
modules, so that the driver's process has torch here, which it does without otherwise.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from grownn_hpo import failpoints
from grownn_hpo.dispatch import launcher, slot

# All that a run of CartPole imports, in the driver and in attempts.
MODULES = (
    *("torch", "torch._dynamo", "safetensors.torch", "gymnasium.envs.classic_control.cartpole"),
    *("grownn_hpo.cli", "grownn_hpo.cli.commands", "grownn_hpo.cli.driving", "grownn_hpo.driver.loop"),
    *("grownn_hpo.segment", "grownn_hpo.preflight", "grownn_hpo.search.suggest", "scipy.stats.qmc", "ConfigSpace"),
    *("grownn_hpo.report.table", "grownn_hpo.spec.study", "rich.console", "rich.live"),
)


@dataclass(frozen=True)
class Ended:
    """How a run ended: `returncode` as in `subprocess`, and what it said."""

    returncode: int
    stdout: str
    stderr: str


class Warm:
    """The warm process, from `with` to its end; runs one `grownn` at a time."""

    def __enter__(self) -> Warm:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **slot.ENVIRONMENT},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "warm\n"
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._process.communicate()

    def run(self, *args: object, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
        """Run `grownn` with these arguments to its end, with `env` laid over the environment."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([list(map(str, args)), str(cwd), dict(env or {})]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the warm process ended"
        said = [(cwd / name).read_text(errors="replace") for name in ("stdout", "stderr")]
        return Ended(json.loads(answer), *said)


class Forked(subprocess.Popen[bytes]):
    """The launcher's process, but forked: with the same descriptors, session and environment as if it were started."""

    def _execute_child(self, args: Any, *others: Any) -> None:
        if slot._BOOT not in args:  # somebody else's child
            super()._execute_child(args, *others)  # type: ignore[misc]
            return
        # In the order in which CPython 3.11 hands them on.
        _, _, _, pass_fds, _, env = others[:6]
        stdin, stdout, stderr = others[9], others[12], others[14]
        self.pid = os.fork()
        if self.pid:
            self._child_created = True
            self._close_pipe_fds(*others[9:15])  # type: ignore[attr-defined]
            return
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            for theirs, ours in ((stdin, 0), (stdout, 1), (stderr, 2)):
                os.dup2(theirs, ours)
            _close_all_but(pass_fds)
            os.environ.clear()
            os.environ.update(env)
            control, scratch, *preload = args[5:]
            launcher.main(int(control), scratch, preload)
        finally:
            os._exit(0)


def _close_all_but(kept: tuple[int, ...]) -> None:
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if descriptor > 2 and descriptor not in kept:
            with suppress(OSError):
                os.close(descriptor)


def _serve() -> None:
    for module in MODULES:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # or the first collection in each child would copy every page of the imports
    print("warm", flush=True)
    for line in sys.stdin:
        args, cwd, env = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _be_grownn(args, cwd, env)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    os._exit(0)  # nobody waits for its modules to be taken down


def _be_grownn(args: list[str], cwd: str, env: dict[str, str]) -> NoReturn:
    code = 1
    try:
        os.setsid()
        os.chdir(cwd)
        os.environ.update(env)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        for name, number in (("stdout", 1), ("stderr", 2)):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        _close_all_but(())
        failpoints.arm(os.environ.get(failpoints.VARIABLE))
        slot.subprocess.Popen = Forked  # type: ignore[misc, attr-defined]
        sys.argv = ["grownn", *args]
        from grownn_hpo.cli import main

        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
