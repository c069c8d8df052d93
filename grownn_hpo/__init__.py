"""GrowNN HPO: hyperparameter search for deep RL agents whose networks grow while they train.

From Python, `import grownn_hpo as gh`: `gh.load` opens a study, `gh.deepen` grows a network of one's own (see
`docs/python.md`). What they need is imported at their first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grownn_hpo.errors import GrowNNError, InputError
    from grownn_hpo.morphism import CannotGrow
    from grownn_hpo.morphism.checked import deepen
    from grownn_hpo.notebook import load

__version__ = "0.1.0"

_HOMES = {
    "GrowNNError": "grownn_hpo.errors",
    "InputError": "grownn_hpo.errors",
    "CannotGrow": "grownn_hpo.morphism",
    "deepen": "grownn_hpo.morphism.checked",
    "load": "grownn_hpo.notebook",
}

__all__ = ["CannotGrow", "GrowNNError", "InputError", "__version__", "deepen", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
