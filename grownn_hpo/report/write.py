"""The one place in this room that writes files: a page, and its figures beside it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grownn_hpo.errors import InputError
from grownn_hpo.report.record import ArmRecord, labelled
from grownn_hpo.store.commit import make_folder, write_file
from grownn_hpo.trial import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from grownn_hpo.report.evaluation import FinalEvaluation

DOTS_PER_INCH = 200  # twice a screen's


def write_report(
    records: Sequence[ArmRecord],
    incumbents: Mapping[str, Trial | None],
    folder: Path,
    evaluations: Mapping[str, FinalEvaluation] | None = None,
) -> Path:
    """Writes `folder/index.html` and `folder/figures/*.png` and `*.pdf`; returns the page's path.

    `incumbents` and `evaluations` go by the arms' labels (see `labelled`); an arm left out has none. Each file appears
    whole or not at all, the page last. Raises InputError for no arms, an arm given twice, or a label of no arm;
    GrowNNError where an incumbent is not a completed trial of its arm.
    """
    # Drawing costs seconds to import, which `grownn --help` need not pay.
    from grownn_hpo.report import canvas, figures, page

    evaluations = evaluations or {}
    arms = labelled(records)
    if not arms:
        raise InputError("records = (): a report needs at least one arm; name the folder of a study or of an arm")
    if strangers := sorted({*incumbents, *evaluations} - set(arms)):
        raise InputError(f"{', '.join(strangers)}: no arm of this report; its arms are {', '.join(arms)}")
    baselines = {e.random.mean_return for e in evaluations.values() if e.random}
    random_return = baselines.pop() if len(baselines) == 1 else None
    drawings: dict[str, tuple[str, Callable[[float], Figure]]] = {
        "learning_curves": (
            "How each arm's best configuration learned, from the first env step to the last, growth included.",
            lambda inches: figures.learning_curves(arms, incumbents, inches, random_return),
        ),
        "incumbent_trajectory": (
            "The best result known after so many env steps of search, compared only among trials of the highest rung"
            " reached: a drop is a higher rung's first trial, which replaces all lower ones.",
            lambda inches: figures.incumbent_trajectories(arms, inches),
        ),
        "survivors": (
            "Every configuration's mean return at every rung it reached, and which were promoted.",
            lambda inches: figures.survivors(arms, incumbents, inches),
        ),
    }
    pictures, files = [], {}
    with canvas.style():
        for name, (caption, draw) in drawings.items():
            wide = draw(canvas.WIDE)
            files[f"{name}.png"] = _saved(wide, "png", dpi=DOTS_PER_INCH)
            files[f"{name}.pdf"] = _saved(wide, "pdf", metadata={"CreationDate": None})
            svgs = [_saved(figure, "svg", **page.SVG).decode() for figure in (wide, draw(canvas.NARROW))]
            pictures.append(page.Picture(name, caption, *svgs))
    html = page.render(arms, incumbents, evaluations, pictures)
    pictured, index = folder / "figures", folder / "index.html"
    make_folder(pictured)
    for name, content in files.items():
        write_file(pictured / name, content)
    write_file(index, html.encode())
    return index


def _saved(figure: Figure, format: str, **options: Any) -> bytes:  # noqa: A002
    content = io.BytesIO()
    figure.savefig(content, format=format, **options)
    return content.getvalue()
