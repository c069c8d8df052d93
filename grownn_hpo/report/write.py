"""The one place in this room that writes files: a page, and its figures beside it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grownn_hpo.errors import InputError
from grownn_hpo.report.record import ArmRecord, labelled
from grownn_hpo.store.commit import make_folder, write_file
from grownn_hpo.trial import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from grownn_hpo.report.evaluation import FinalEvaluation

DOTS_PER_INCH = 200
PDF: dict[str, Any] = {"metadata": {"CreationDate": None}}  # the same figure, the same bytes


def write_report(
    records: Sequence[ArmRecord],
    incumbents: Mapping[str, Trial | None],
    folder: Path,
    evaluations: Mapping[str, FinalEvaluation] | None = None,
    fresh: Mapping[str, ArmRecord] | None = None,
) -> Path:
    """Writes `folder/index.html` and its figures beside it; returns the page's path.

    There are `figures/NAME.png`, as wide as a paper's text or a slide, and `NAME.pdf`, as wide as a column of two.
    `incumbents`, `evaluations` and `fresh`, the runs that these evaluations are of, go by the arms' labels (see
    `labelled`); an arm left out has none. Each file appears whole or not at all, the page last. Raises InputError for
    no arms, an arm given twice, or a label of no arm; GrowNNError where an incumbent is no completed trial of its arm.
    """
    # Drawing costs seconds to import, which `grownn --help` need not pay.
    from grownn_hpo.report import canvas, contents, page
    from grownn_hpo.report.comparison import questions

    evaluations, fresh = evaluations or {}, fresh or {}
    arms = labelled(records)
    if not arms:
        raise InputError("records = (): a report needs at least one arm; name the folder of a study or of an arm")
    if strangers := sorted({*incumbents, *evaluations, *fresh} - set(arms)):
        raise InputError(f"{', '.join(strangers)}: no arm of this report; its arms are {', '.join(arms)}")
    page.refuse_unknown(arms, incumbents)
    given = contents.Given(arms, incumbents, evaluations, fresh, questions(arms, incumbents, evaluations))
    chapters, pictures, files = contents.chapters(given), {}, {}
    with canvas.style():
        for item in (item for chapter in chapters for item in chapter.items):
            if item.draw is None:
                continue
            wide, narrow = (_laid_out(item.draw(inches)) for inches in (canvas.WIDE, canvas.NARROW))
            files[f"{item.name}.png"] = _saved(wide, "png", dpi=DOTS_PER_INCH)
            files[f"{item.name}.pdf"] = _saved(narrow, "pdf", **PDF)
            pictures[item.name] = page.Picture(*(_saved(f, "svg", **page.SVG).decode() for f in (wide, narrow)))
    html = page.render(given, chapters, pictures)
    pictured, index = folder / "figures", folder / "index.html"
    make_folder(pictured)
    for name, content in files.items():
        write_file(pictured / name, content)
    write_file(index, html.encode())
    return index


def _laid_out(figure: Figure) -> Figure:
    """The figure with everything in its place, so that saving it in several formats need not find that anew."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def _saved(figure: Figure, format: str, **options: Any) -> bytes:  # noqa: A002
    content = io.BytesIO()
    figure.savefig(content, format=format, **options)
    return content.getvalue()
