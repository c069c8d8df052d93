"""The one place in this room that writes files: a page, and its figures beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grownn_hpo.errors import InputError
from grownn_hpo.report.record import ArmRecord, labelled
from grownn_hpo.store.commit import make_folder, write_file
from grownn_hpo.trial import Trial

if TYPE_CHECKING:
    from grownn_hpo.report.evaluation import FinalEvaluation


def write_report(
    records: Sequence[ArmRecord],
    incumbents: Mapping[str, Trial | None],
    folder: Path,
    evaluations: Mapping[str, FinalEvaluation] | None = None,
    fresh: Mapping[str, ArmRecord] | None = None,
    processes: int = 1,
) -> Path:
    """Writes `folder/index.html` and its figures beside it; returns the page's path.

    There are `figures/NAME.png`, as wide as a paper's text or a slide, and `NAME.pdf`, as wide as a column of two.
    `incumbents`, `evaluations` and `fresh`, the runs that these evaluations are of, go by the arms' labels (see
    `labelled`); an arm left out has none. `processes` draw at once, see `drawing.drawn`. Each file appears whole or not
    at all, the page last. Raises InputError for no arms, an arm given twice, or a label of no arm; GrowNNError where an
    incumbent is no completed trial of its arm.
    """
    # Drawing costs seconds to import, which `grownn --help` need not pay.
    from grownn_hpo.report import contents, drawing, page
    from grownn_hpo.report.comparison import questions

    evaluations, fresh = evaluations or {}, fresh or {}
    arms = labelled(records)
    if not arms:
        raise InputError("records = (): a report needs at least one arm; name the folder of a study or of an arm")
    if strangers := sorted({*incumbents, *evaluations, *fresh} - set(arms)):
        raise InputError(f"{', '.join(strangers)}: no arm of this report; its arms are {', '.join(arms)}")
    page.refuse_unknown(arms, incumbents)
    given = contents.Given(arms, incumbents, evaluations, fresh, questions(arms, incumbents, evaluations))
    chapters = contents.chapters(given)
    items = (item for chapter in chapters for item in chapter.items)
    pictures = drawing.drawn({item.name: item.draw for item in items if item.draw is not None}, processes)
    html = page.render(given, chapters, pictures)
    pictured, index = folder / "figures", folder / "index.html"
    make_folder(pictured)
    for name, picture in pictures.items():
        write_file(pictured / f"{name}.png", picture.png)
        write_file(pictured / f"{name}.pdf", picture.pdf)
    write_file(index, html.encode())
    return index
