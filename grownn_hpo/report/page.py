"""The report as one HTML page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import jinja2
from markupsafe import Markup

from grownn_hpo import __version__
from grownn_hpo.report import effort, summary, verdict
from grownn_hpo.report.canvas import INK
from grownn_hpo.report.comparison import Basis
from grownn_hpo.report.contents import Chapter, Given
from grownn_hpo.report.drawing import Picture
from grownn_hpo.report.record import ArmRecord
from grownn_hpo.trial import Trial


def refuse_unknown(arms: Mapping[str, ArmRecord], incumbents: Mapping[str, Trial | None]) -> None:
    """Raises GrowNNError where an incumbent is not a completed trial of its arm."""
    for label, trial in incumbents.items():
        if trial is not None:
            summary.incumbent_standing(label, arms[label], trial)


def render(given: Given, chapters: Sequence[Chapter], pictures: Mapping[str, Picture]) -> str:
    """The page's HTML; `pictures` by the names of the items. The same input gives the same text."""
    records, incumbents, evaluations = given.arms, given.incumbents, given.evaluations
    arms = [
        {
            "label": label,
            "answer": summary.answer(label, record, incumbents.get(label), evaluations.get(label)),
            "board": summary.board(record),
            "failures": summary.failures(record),
            "growth": summary.growth(record),
            "time": effort.time(record),
            "unfinished": effort.unfinished(record),
            "environment": summary.environment(record),
        }
        for label, record in records.items()
    ]
    template = jinja2.Environment(
        loader=jinja2.PackageLoader("grownn_hpo", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html.j2")
    return template.render(
        studies=" and ".join(dict.fromkeys(record.arm.study for record in records.values())),
        tasks=" and ".join(dict.fromkeys(record.arm.task.env for record in records.values())),
        answers=[
            (question.env if len(given.questions) > 1 else "", verdict.answer(question, incumbents))
            for question in given.questions
        ],
        chosen_by_these=any(q.contenders and q.basis is Basis.SEARCH for q in given.questions),
        arms=arms,
        cautions=[*summary.cautions(records, incumbents, evaluations), *verdict.cautions(given.questions)],
        hyperparameters=summary.hyperparameters(records, incumbents),
        evaluations=summary.final_evaluations(evaluations),
        commands=summary.commands(list(records.values())),
        chapters=chapters,
        pictures={
            name: {kind: _inline(getattr(picture, kind), f"{name}-{kind}") for kind in ("wide", "narrow")}
            for name, picture in pictures.items()
        },
        version=__version__,
    )


def _inline(svg: str, name: str) -> Markup:
    """An SVG file's text made fit to stand in a page with others: own ids, the page's text colour, any width."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{name}-", body)
    # Drawn by our own matplotlib, which escapes the texts that come from study files.
    return Markup(body.replace(INK, "currentColor"))
