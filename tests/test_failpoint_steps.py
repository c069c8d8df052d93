"""No step that is meant to last escapes the failpoints: found in the program's text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import grownn_hpo

PACKAGE = Path(grownn_hpo.__file__).parent
CARRIERS = {"store.commit", "store.lease", "store.ledger"}
"""The modules that may take a step that is meant to last: each has its failpoint there."""
OUTSIDE = {
    ("failpoints", "open"): "the log of passes",
    ("dispatch.scratch", "open"): "temporary files of the machine, which nobody misses",
    ("dispatch.scratch", "rename"): "the same",
    ("dispatch.scratch", "rmtree"): "the same",
    ("dispatch.launcher", "mkdir"): "the same",
    ("dispatch.launcher", "rmtree"): "the same",
    ("dispatch.attempt", "write_text"): "a file of /proc",
    ("native.build", "replace"): "the installation's own",
    ("native.build", "unlink"): "the same",
    ("envs.levels", "unlink"): "a game's own folder among the temporary files",
    ("envs.levels", "write_bytes"): "the same",
    ("cli.outlet", "open"): "/dev/null",
    ("report.mirror.placing", "mkdir"): "mirrors, which hold nothing of their own: killed half-way, they are made anew",
    ("report.mirror.placing", "rename"): "the same",
    ("report.mirror.placing", "rmtree"): "the same",
    ("report.mirror.placing", "write_text"): "the same",
    ("report.mirror.tables", "write_text"): "the same",
    ("report.mirror.event_files", "mkdir"): "the same",
    ("report.mirror.event_files", "open"): "the same",
    ("report.mirror.smac_runs", "mkdir"): "the same",
    ("search.smac_run", "write_text"): "the same",
    ("cli.submitting", "mkdir"): "the folder of a job's output",
    ("cli.submitting", "rmdir"): "the same",
}
STEPS = {
    *("fsync", "fdatasync", "rename", "renames", "unlink", "rmdir", "removedirs", "rmtree", "truncate"),
    *("ftruncate", "pwrite", "mkdir", "makedirs", "write_text", "write_bytes", "touch", "symlink_to", "hardlink_to"),
    *("symlink", "link", "copyfile", "copy2", "copytree", "move", "commit"),
}
WRITING = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"}


def step(call: ast.Call) -> str | None:
    """The step that a call takes on the file system or in a database, if it takes one."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = call.func.value.id if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) else ""
    words = [a.value for a in (*call.args, *(k.value for k in call.keywords)) if isinstance(a, ast.Constant)]
    if name in STEPS or (name in ("remove", "replace") and owner == "os"):
        return name
    if name == "replace" and owner != "dataclasses" and isinstance(call.func, ast.Attribute):
        return name if len(call.args) == 1 and not call.keywords else None  # of text: two; of a path: one
    if name in ("open", "fdopen", "mkstemp", "NamedTemporaryFile"):
        flags = {node.attr for node in ast.walk(call) if isinstance(node, ast.Attribute)}
        modes = any(isinstance(w, str) and len(w) <= 3 and set(w) & set("wax+") for w in words)
        return name if modes or flags & WRITING else None
    return "commit" if name == "execute" and "COMMIT" in words else None


def steps(source: str, module: str) -> Iterator[tuple[str, str, int]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (taken := step(node)):
            yield module, taken, node.lineno


def test_every_step_that_lasts_is_taken_where_failpoints_are() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found += steps(path.read_text(), module)
    wrong = [f"{m}:{line}: {s}" for m, s, line in found if m not in CARRIERS and (m, s) not in OUTSIDE]
    assert wrong == [], "take it by way of grownn_hpo.store.commit, which has the failpoints"
    assert {(m, s) for m, s, _ in found if m not in CARRIERS} == OUTSIDE.keys()
    assert {m for m, *_ in found} > CARRIERS


def own_calls(function: ast.AST) -> Iterator[ast.Call]:
    """The calls in a function, but for those in functions inside it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.Lambda):
            if isinstance(child, ast.Call):
                yield child
            yield from own_calls(child)


def test_the_carriers_pass_a_failpoint_for_every_step_they_take() -> None:
    bare = {"open", "ftruncate"}  # what follows them is a step
    for module in CARRIERS:
        tree = ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text())
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            calls = list(own_calls(function))
            taken = [taken for call in calls if (taken := step(call)) and taken not in bare]
            met = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "meet"]
            # The deletion of its temporary after an error is no step of `_write_once`: it clears up, and no more.
            assert len(met) >= len(taken) - (function.name == "_write_once"), f"{module}.{function.name}: {taken}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("os.fsync(f)", "fsync"),
        ("path.replace(other)", "replace"),
        ("os.replace(a, b)", "replace"),
        ("text.replace('a', 'b')", None),
        ("dataclasses.replace(value, a=1)", None),
        ("replace(value)", None),
        ("connection.execute('COMMIT')", "commit"),
        ("connection.execute('SELECT 1')", None),
        ("connection.commit()", "commit"),
        ("path.open('rb')", None),
        ("path.open('ab')", "open"),
        ("open(path, mode='w')", "open"),
        ("os.open(path, os.O_RDONLY)", None),
        ("os.open(path, os.O_RDWR | os.O_CREAT)", "open"),
        ("shutil.rmtree(folder)", "rmtree"),
    ],
)
def test_the_search_knows_a_step(source: str, expected: str | None) -> None:
    assert [s for _, s, _ in steps(source, "m")] == ([expected] if expected else [])
