"""The house: imports go downward, each heavy library has one door, and nothing is ever pickled or evaluated."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import grownn_hpo

PACKAGE = Path(grownn_hpo.__file__).parent
FLOORS = {
    "errors": 0,
    "native": 0,
    "failpoints": 0,
    "files": 0,
    "trial": 0,
    "spec": 0,
    "morphism": 1,
    "envs": 1,
    "ppo": 1,
    "environment": 1,
    "store": 1,
    "search": 1,
    "dispatch": 1,
    "segment": 2,
    "preflight": 2,
    "report": 2,
    "acting": 3,
    "rehearsal": 3,
    "driver": 3,
    "notebook": 4,
    "cli": 4,
    "__main__": 5,  # nothing but the door to `cli`
}
GROUND = {
    "errors": set(),
    "native": {"errors"},
    "failpoints": set(),
    "files": set(),
    "trial": set(),
    "spec": {"errors", "files"},
}
"""What the ground floor's rooms may import of one another."""

# Who may import a heavy library at all (rooms, or modules), and where it must wait until a function needs it.
DOORS = {
    "smac": {"search"},
    "ConfigSpace": {"search", "spec"},
    "dask": {"dispatch"},
    "distributed": {"dispatch"},
    "dask_jobqueue": {"dispatch"},
    "torch": {"morphism", "ppo", "segment", "store.checkpoint", "preflight", "acting", "cli.examining"},
    "safetensors": {"store.checkpoint"},
    "optuna": {"report.mirror.optuna_storage"},
    "tensorboard": {"report.mirror.event_files"},
    "pyarrow": {"report.mirror.tables"},
    "wandb": {"report.mirror.wandb_runs"},
    "pandas": {"notebook"},
    "onnx": {"acting"},
    "onnxruntime": {"acting"},
    "imageio_ffmpeg": {"acting"},
    "PIL": {"acting"},
}
INSIDE_FUNCTIONS = {
    ("torch", "store.checkpoint"),
    ("safetensors", "store.checkpoint"),
    ("torch", "preflight"),  # asked for a GPU's name on a worker; the driver reads the answer
    ("torch", "cli.examining"),
    ("optuna", "report.mirror.optuna_storage"),  # optional extras, from here on
    ("tensorboard", "report.mirror.event_files"),
    ("pyarrow", "report.mirror.tables"),
    ("wandb", "report.mirror.wandb_runs"),
    ("pandas", "notebook"),
}
NOWHERE = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "shelve", "joblib", "marshal", "yaml"}


@dataclass(frozen=True)
class Import:
    """One module imported by another; `when` is module, function or typing."""

    importer: str
    line: int
    imported: str
    when: str

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported} ({self.when})"


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its name below the package, parsed."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


MODULES = modules()


def imports(name: str, tree: ast.AST, when: str = "module") -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        inside = when
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and when == "module":
            inside = "function"
        if isinstance(node, ast.Import):
            yield from (Import(name, node.lineno, alias.name, when) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: imports are written in full"
            # `from package import name`: the name may be a module of its own.
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                known = full.removeprefix("grownn_hpo.") in MODULES
                yield Import(name, node.lineno, full if known else str(node.module), when)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from imports(name, ast.Module([child], []), "typing")
            for child in node.orelse:
                yield from imports(name, ast.Module([child], []), when)
        else:
            yield from imports(name, node, inside)


IMPORTS = [found for name, tree in MODULES.items() for found in imports(name, tree)]


def room(module: str) -> str:
    return module.split(".")[0]


def may_import(importer: str, imported: str) -> bool:
    """The rule of the floors, between two rooms; the top of the package holds its version, which all may read."""
    if importer == imported or imported == "":
        return True
    if importer in GROUND and imported in GROUND:
        return imported in GROUND[importer]
    return FLOORS[imported] < FLOORS[importer]


def test_every_module_lives_in_a_room() -> None:
    assert {room(name) for name in MODULES} - {""} <= set(FLOORS)
    assert {"errors", "trial", "spec", "store", "search", "segment", "driver", "cli"} <= {room(m) for m in MODULES}


def test_imports_go_downward() -> None:
    own = [i for i in IMPORTS if i.imported.split(".")[0] == "grownn_hpo" and i.importer != ""]
    assert len(own) > 150  # the walk sees them
    rooms = {i: (room(i.importer), room(i.imported.removeprefix("grownn_hpo").lstrip("."))) for i in own}
    wrong = [i for i in own if not may_import(*rooms[i])]
    assert wrong == [], "\n".join(map(str, wrong))


def test_the_top_of_the_package_imports_nothing() -> None:
    """What it offers to Python is imported at its first use."""
    early = [i for i in IMPORTS if i.importer == "" and i.when != "typing"]
    assert {i.imported.split(".")[0] for i in early} <= {"importlib", "typing"}
    offered = set(grownn_hpo.__all__) - {"__version__"}
    assert offered == set(grownn_hpo._HOMES)
    assert all(getattr(grownn_hpo, name).__module__.startswith("grownn_hpo.") for name in offered)


@pytest.mark.parametrize("library", DOORS)
def test_a_heavy_library_has_its_door(library: str) -> None:
    found = [i for i in IMPORTS if room(i.imported) == library]
    wrong = [i for i in found if not {i.importer, room(i.importer)} & DOORS[library]]
    assert wrong == [], "\n".join(map(str, wrong))
    early = [i for i in found if (library, i.importer) in INSIDE_FUNCTIONS and i.when == "module"]
    assert early == [], "\n".join(map(str, early))


def test_nothing_is_pickled_or_evaluated() -> None:
    assert [str(i) for i in IMPORTS if room(i.imported) in NOWHERE] == []
    calls = [
        f"{name}:{node.lineno} calls {ast.unparse(node.func)}"
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (
            ast.unparse(node.func) in ("eval", "exec", "compile", "__import__", "torch.load", "torch.save")
            or ast.unparse(node.func).endswith((".read_pickle", ".to_pickle"))
            or any(k.arg == "allow_pickle" for k in node.keywords)
            or (ast.unparse(node.func) == "YAML" and "typ='safe'" not in ast.unparse(node))
        )
    ]
    assert calls == []


def test_the_walk_finds_imports_wherever_they_stand() -> None:
    source = """
import a.b
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from c import d
else:
    import e
class K:
    import f
    def g(self):
        try:
            from grownn_hpo import ppo
        except ImportError:
            import h
"""
    found = [(i.imported, i.when) for i in imports("x", ast.parse(source))]
    assert found == [
        ("a.b", "module"),
        ("typing", "module"),
        ("c", "typing"),
        ("e", "module"),
        ("f", "module"),
        ("grownn_hpo.ppo", "function"),
        ("h", "function"),
    ]
    assert not may_import("store", "search")
    assert not may_import("trial", "errors")
    assert not may_import("driver", "cli")
    assert may_import("cli", "trial")


LOADED = "import sys; print(*sorted(sys.modules))"


def loaded_by(*arguments: str) -> set[str]:
    """The modules loaded in a fresh interpreter after running it with these arguments."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("grownn_hpo", {"torch", "pandas", "numpy", "smac", "pydantic", "gymnasium", "dask", "distributed"}),
        ("grownn_hpo.notebook", {"torch", "pandas", "smac", "gymnasium", "nle", "mujoco", "dask", "distributed"}),
        ("grownn_hpo.driver.loop", {"torch", "smac", "gymnasium", "nle", "mujoco", "dask", "distributed"}),
        ("grownn_hpo.driver.site", {"torch", "smac", "gymnasium", "nle", "mujoco", "dask", "distributed"}),
        (
            "grownn_hpo.cli.driving",
            {"torch", "smac", "scipy.stats", "gymnasium", "nle", "mujoco", "dask", "distributed"},
        ),
        ("grownn_hpo.cli.following", {"torch", "smac", "scipy.stats", "matplotlib", "gymnasium", "dask"}),
        ("grownn_hpo.cli.showing", {"torch", "smac", "scipy.stats", "matplotlib", "gymnasium", "dask"}),
        ("grownn_hpo.preflight", {"torch", "smac", "ConfigSpace", "gymnasium", "dask", "distributed"}),
        ("grownn_hpo.dispatch", {"torch", "numpy", "dask", "distributed", "dask_jobqueue"}),
        ("grownn_hpo.cli.planning", {"torch", "smac", "gymnasium", "nle", "mujoco", "ConfigSpace", "distributed"}),
        ("grownn_hpo.segment", {"smac", "ConfigSpace", "dask", "distributed"}),
        ("grownn_hpo.store.ledger", {"torch", "safetensors", "numpy"}),
        ("grownn_hpo.spec.study", {"torch", "smac", "ConfigSpace", "numpy", "dask"}),
    ],
)
def test_a_module_leaves_out_what_is_not_its_business(module: str, absent: set[str]) -> None:
    loaded = loaded_by("-c", f"import {module}; {LOADED}")
    assert "grownn_hpo" in loaded
    assert loaded & absent == set()


def test_help_is_quick_to_load() -> None:
    shown = """
import atexit, runpy, sys
atexit.register(lambda: print(*sorted({name.split('.')[0] for name in sys.modules})))
sys.argv = ["grownn", "--help"]
runpy.run_module("grownn_hpo", run_name="__main__")
"""
    loaded = loaded_by("-c", shown)
    assert "typer" in loaded
    assert loaded & {"pydantic", "numpy", "torch", "smac", "ConfigSpace", "dask", "distributed", "gymnasium"} == set()
