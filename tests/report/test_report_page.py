"""The report as a reader gets it: the written page and its figures."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from grownn_hpo.errors import GrowNNError, InputError
from grownn_hpo.report import ArmRecord, Failure, canvas, effort, figures, labelled, summary, write_report
from grownn_hpo.report.evaluation import Promise, RandomPolicy, SeedScore, evaluate
from grownn_hpo.report.incumbent import leaderboard
from grownn_hpo.trial import Segment, Trial

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Reader(HTMLParser):
    """A page's visible text, its ids and what it would load; unbalanced tags are an error."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name == "src" or (name == "href" and tag != "a") or (name == "xlink:href" and tag == "image"):
                self.loaded.append(value or "")
            if name == "href" and tag == "a":
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "script"}:
            self.text += data


def read(page: Path) -> Reader:
    reader = Reader()
    reader.feed(page.read_text())
    assert not reader.open
    reader.text = " ".join(reader.text.split())
    return reader


def leaders(*records: ArmRecord) -> dict[str, Trial | None]:
    boards = {label: leaderboard(record) for label, record in labelled(records).items()}
    return {label: board[0].trial if board else None for label, board in boards.items()}


def test_a_finished_study_of_two_arms(grown: ArmRecord, static: ArmRecord, tmp_path: Path) -> None:
    grown, static = searched(grown), searched(static)
    finals = {}
    for label, record in labelled([grown, static]).items():
        top = leaderboard(record)[0]
        scores = [SeedScore(seed, top.mean_return - 0.1, 0.5) for seed in range(100, 105)]
        promise = Promise(top.mean_return, top.success_rate, record.arm.seeds)
        finals[label] = evaluate(label, top.trial.config, 2_000_000, scores, promise, RandomPolicy(-0.4, 0.59, 200))
    page = write_report([grown, static], leaders(grown, static), tmp_path / "new" / "report", finals)
    assert page == tmp_path / "new" / "report" / "index.html"
    reader = read(page)
    top = leaderboard(grown)[0]
    assert "Growing helps here: after 2 million env steps, grown-4 (depth 1 to 4) reaches" in reader.text
    assert "5 and 5 runs on fresh seeds" in reader.text
    assert "chosen by these very numbers" not in reader.text
    assert (
        f"grown-4. Configuration {top.trial.config} leads at rung 4 of 4 (depth 4, 2 million env steps a run)"
        in reader.text
    )
    assert f"mean return of {top.mean_return:.3f} and a success rate of {top.success_rate:.0%}" in reader.text
    assert "retrained on 5 fresh seeds it reaches" in reader.text
    assert "It took 78 of 78 trials" in reader.text
    grew = sum(result.growth_difference is not None for result in grown.results)
    assert f"{grew} segments began by growing" in reader.text
    assert "before and after was exactly 0." in reader.text
    assert "grownn run results/room-random-10x10/static-4/study.yaml --results again" in reader.text
    assert "worker lost" in reader.text
    assert "cpu.model" in reader.text
    # It opens offline, and what it links to is beside it.
    assert not [target for target in reader.loaded if not target.startswith("#")]
    drawn = ["learning_curves", "performance_profiles", "improvement", "incumbent_trajectory"]
    drawn += ["importance", "parallel_coordinates", "rung_ranks", "survivors"]
    suffixes = (".png", ".pdf")
    assert reader.links == [f"figures/{name}{suffix}" for name in drawn for suffix in suffixes]
    for link in reader.links:
        content = (page.parent / link).read_bytes()
        if link.endswith("png"):
            assert content.startswith(b"\x89PNG")
            continue
        # Fonts are embedded, as TrueType: publishers refuse Type 3. As wide as a paper's column.
        assert content.startswith(b"%PDF")
        assert b"/FontFile2" in content
        assert b"/Type3" not in content
        assert b"/MediaBox [ 0 0 244.8 " in content
    assert len(set(reader.ids)) == len(reader.ids)
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", page.read_text())
    files = [path.name for path in page.parent.rglob("*") if path.is_file()]
    assert sorted(files) == sorted([page.name, *(link.split("/")[1] for link in reader.links)])


SPACE = {
    "hyperparameters": [
        {"name": "batch_size", "type": "categorical", "choices": [32, 64, 128, 256]},
        {"name": "ent_coef", "type": "uniform_float", "lower": 0.0, "upper": 0.3},
        {"name": "learning_rate", "type": "uniform_float", "lower": 1e-4, "upper": 1e-2, "log": True},
        {"name": "n_epochs", "type": "uniform_int", "lower": 5, "upper": 20},
    ]
}


def searched(record: ArmRecord) -> ArmRecord:
    return replace(record, arm=record.arm.model_copy(update={"space": SPACE}))


@pytest.fixture(scope="module")
def half_done_page(half_done: ArmRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([half_done], leaders(half_done), tmp_path_factory.mktemp("half-done"), processes=1)


def test_the_same_records_give_the_same_bytes(half_done: ArmRecord, half_done_page: Path, tmp_path: Path) -> None:
    write_report([half_done], leaders(half_done), tmp_path, processes=2)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    assert len(files) == 9
    for file in files:
        assert (tmp_path / file).read_bytes() == (half_done_page.parent / file).read_bytes(), file


def test_a_study_half_done_says_so(half_done_page: Path) -> None:
    text = read(half_done_page).text
    assert "So far it took 12 of 13 trials" in text
    assert "grown-4 is not finished: 12 of 13 trials." in text
    assert "grown-4's incumbent has not trained to the end: rung 2 of 4." in text
    assert "The best so far, at rung 2 of 4, is configuration" in text
    assert "A single arm: there is nothing to compare it with." in text
    assert "grown-4: fewer than two configurations have completed the last rung so far." in text
    assert "grown-4, rung 1: no hyperparameter was searched." in text


def test_one_seed_and_one_evaluation(bare: ArmRecord, tmp_path: Path) -> None:
    text = read(write_report([bare], leaders(bare), tmp_path)).text
    assert "over the search's 1 seed." in text
    assert "success rate" not in text
    assert "No network has grown." in text


def test_a_study_without_a_single_trial(unstarted: ArmRecord, tmp_path: Path) -> None:
    text = read(write_report([unstarted], {"grown-4": None}, tmp_path)).text
    assert "No trial is complete yet, so there is no incumbent. So far it took 0 of 26 trials" in text
    assert "Nothing failed." in text
    assert list((tmp_path / "figures").iterdir()) == []  # words, instead of empty figures


def test_text_from_outside_stays_text(bare: ArmRecord, tmp_path: Path) -> None:
    evil = "<script>alert('&')</script>"
    record = replace(
        bare,
        failures=(Failure(Segment(1, 1, 7), evil, evil),),
        environment={evil: evil},
        configurations={1: {evil: evil}},
    )
    page = write_report([record], leaders(record), tmp_path)
    assert "<script" not in page.read_text()
    assert read(page).text.count(evil) >= 5


def test_growth_that_was_not_exact_is_said_aloud(grown: ArmRecord) -> None:
    results = tuple(
        replace(r, growth_difference=3e-3) if r.growth_difference is not None and i == 200 else r
        for i, r in enumerate(grown.results)
    )
    record = replace(grown, results=results)
    assert any(r.growth_difference for r in results)
    assert "was 0.00300." in summary.growth(record)
    said = summary.cautions({"grown-4": record}, leaders(record), {})
    assert said == ["grown-4: growth changed what a network computes, by up to 0.00300; it must be 0."]


def test_unequal_terms_are_said_aloud(grown: ArmRecord, static: ArmRecord) -> None:
    def beside_grown(**rung: object) -> list[str]:
        rungs = (static.arm.rungs[0].model_copy(update=rung),)
        other = replace(static, arm=static.arm.model_copy(update={"rungs": rungs}))
        return summary.cautions(labelled([grown, other]), leaders(grown, other), {})

    assert beside_grown(env_steps=500_000) == [
        "The arms train for different lengths: 500,000 env steps, 2 million env steps a run."
    ]
    (line,) = beside_grown(env_steps=500_000, env="Other-v0")
    assert "Other-v0" in line
    assert "do not compare" in line


def test_many_failures_are_counted_by_cause_and_shown_in_part(unstarted: ArmRecord) -> None:
    lost = [Failure(Segment(c, 1, 0), "worker lost" if c % 3 else "out of memory", "") for c in range(1, 91)]
    said, shown = summary.failures(replace(unstarted, failures=tuple(reversed(lost))))
    assert said == "90 failures: 60 worker lost, 30 out of memory. The first 50:"
    assert shown == tuple(lost[:50])


def test_time_is_shared_among_rungs(grown: ArmRecord) -> None:
    rows = effort.time(grown).rows
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    assert sum(int(row[2]) for row in rows) == len(grown.results)
    assert sum(int(row[4].rstrip("%")) for row in rows) == pytest.approx(100, abs=2)
    assert all(250 <= float(row[5]) <= 390 for row in rows)


def test_an_incumbent_that_is_no_completed_trial_is_refused_and_nothing_written(
    bare: ArmRecord, tmp_path: Path
) -> None:
    with pytest.raises(GrowNNError, match="incumbent = configuration 9 at rung 1"):
        write_report([bare], {"bare": Trial(9, 1)}, tmp_path)
    with pytest.raises(InputError, match="stranger: no arm of this report; its arms are bare"):
        write_report([bare], {"stranger": None}, tmp_path)
    with pytest.raises(InputError, match="at least one arm"):
        write_report([], {}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_curves_drawn_are_the_records(grown: ArmRecord, static: ArmRecord) -> None:
    records = labelled([grown, static])
    with canvas.style():
        figure = figures.learning_curves(records, leaders(grown, static), random_return=-0.4)
    returns, success = figure.axes
    curve = next(
        line for line in returns.lines if line.get_color() == canvas.COLOURS[0] and line.get_linestyle() == "-"
    )
    assert len(curve.get_xdata()) == 80  # type: ignore[arg-type]
    assert curve.get_xdata()[-1] == 2_000_000  # type: ignore[index]
    dotted = [line.get_xdata()[0] for line in success.lines if line.get_linestyle() == ":"]  # type: ignore[index]
    assert dotted == [500_000, 1_000_000, 1_500_000]
    assert [text.get_text() for text in returns.texts] == ["depth 1", "depth 2", "depth 3", "depth 4"]
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "a random policy"


def test_survivors_are_all_completed_trials(grown: ArmRecord) -> None:
    with canvas.style():
        figure = figures.survivors({"grown-4": grown}, leaders(grown))
    (axis,) = figure.axes
    lines, dots = axis.collections
    done = [sum(int(word) for word in re.findall(r"(\d+) done", t.get_text())) for t in axis.get_xticklabels()]
    assert len(dots.get_offsets()) == sum(done)  # type: ignore[arg-type]
    assert len(lines.get_paths()) == sum(done[1:])


def test_long_names_and_many_arms_can_be_drawn(simulated: Callable[..., ArmRecord], static: ArmRecord) -> None:
    many = {f"{'x' * 60}{i}": static for i in range(8)}
    with canvas.style():
        figure = figures.incumbent_trajectories(many, canvas.NARROW)
        figure.draw_without_rendering()
    pens = {(line.get_color(), line.get_linestyle()) for line in figure.legends[0].get_lines()}
    assert len(pens) == 8
    assert all(len(text.get_text()) <= 28 for text in figure.legends[0].get_texts())


def test_importing_the_room_loads_nothing_that_draws() -> None:
    code = "import sys, grownn_hpo.report; print(*{'matplotlib', 'scipy', 'jinja2', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"
