"""`grownn watch`: an agent's episodes in the terminal, or as a film."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from grownn_hpo.acting.characters import extent, lines, shade
from grownn_hpo.acting.choosing import choose
from grownn_hpo.acting.films import MOST_PER_SECOND, film_for, refuse_film
from grownn_hpo.acting.pictures import caption, draw
from grownn_hpo.acting.trained import TrainedAgent
from grownn_hpo.acting.watching import Ending, Moment, pace, watch
from grownn_hpo.cli.output import refuse_output
from grownn_hpo.envs import Episodes
from grownn_hpo.errors import InputError
from grownn_hpo.report import wording
from grownn_hpo.spec import Characters
from grownn_hpo.store.commit import write_file

MAPS_PER_SECOND = 5.0  # slow enough to see where the hero goes

# MuJoCo's own choice is a window system; pygame looks for a screen and a sound card, and greets on stdout.
WINDOWLESS = {
    "MUJOCO_GL": "egl",
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    "SDL_AUDIODRIVER": "dummy",
    "SDL_VIDEODRIVER": "dummy",
}

_SHADES = {Ending.SUCCESS: "green", Ending.FAILURE: "red"}


def show(path: Path, seed: int | None, episodes: int, output: Path | None, results: Path) -> None:
    """Show the first `episodes` of the last evaluation of the incumbent at `path`."""
    if output is not None:
        refuse_output(output)
        refuse_film(output.suffix)
    # MuJoCo, when it is imported, already loads what MUJOCO_GL names: a bad name would hide behind "cannot be built".
    surroundings = WINDOWLESS | os.environ
    os.environ.pop("MUJOCO_GL", None)
    trained = choose(path, results).agent(seed)
    os.environ.update(surroundings)
    is_map = isinstance(trained.spaces.observation, Characters)
    if output is None and not is_map:
        raise InputError(f"{trained.env} is drawn in pixels, not in text: name a file with -o FILE.gif or -o FILE.mp4")
    evaluated = trained.arm.evaluation.episodes
    if episodes > evaluated:
        raise InputError(f"--episodes {episodes}: the agent's last evaluation had {evaluated}; name at most so many")
    _say(_introduction(trained))
    played = _in_terminal(trained, episodes) if output is None else _as_film(trained, episodes, output, is_map)
    for number in range(episodes):
        success = played.successes[number]
        end = "" if success is None else f", {Ending.SUCCESS if success else Ending.FAILURE}"
        _say(f"episode {number + 1}: return {played.returns[number]:.4g}, {played.lengths[number]} env steps{end}")
    _say(_compared(trained, played))
    if output is not None:
        print(output)


def _in_terminal(trained: TrainedAgent, episodes: int) -> Episodes:
    console = Console(stderr=True, highlight=False)
    for number in range(episodes):
        moments: list[Moment] = []
        played = watch(trained, number, moments.append)
        part = extent(moment.observation for moment in moments)
        title = _title(trained, number)
        if not console.is_terminal:  # a log file: one map after the other
            for moment in moments:
                console.print(_text(moment, title, part))
            continue
        with Live(console=console, auto_refresh=False) as live:
            for moment in moments:
                live.update(_text(moment, title, part), refresh=True)
                time.sleep(1 / MAPS_PER_SECOND)
    return played


def _as_film(trained: TrainedAgent, episodes: int, output: Path, is_map: bool) -> Episodes:
    if is_map:
        told: list[Sequence[Moment]] = []
        for number in range(episodes):
            moments: list[Moment] = []
            played = watch(trained, number, moments.append)
            told.append(moments)
        part = extent(moment.observation for moments in told for moment in moments)
        with film_for(output.suffix, MAPS_PER_SECOND) as film:
            for number, each in enumerate(told):
                for moment in each:
                    film.add(draw(moment, _title(trained, number), part), moment.ending is not None)
            write_file(output, film.finish())
        return played
    most = MOST_PER_SECOND[output.suffix]
    with film_for(output.suffix, pace(trained, most), photographs=True) as film:

        def tell(moment: Moment) -> None:
            film.add(draw(moment, title, None), moment.ending is not None)

        for number in range(episodes):
            title = _title(trained, number)
            _say(
                f"drawing episode {number + 1} of {episodes}; without a GPU, about two minutes for a thousand pictures"
            )
            played = watch(trained, number, tell, most)
        write_file(output, film.finish())
    return played


def _text(moment: Moment, title: tuple[str, str], part: tuple[slice, slice]) -> Text:
    """The moment's map and caption, for a terminal."""
    text = Text()
    for line in lines(moment.observation, *part):
        for character in line:
            text.append(character, shade(character).terminal)
        text.append("\n")
    text.append(", ".join(title) + "\n", "dim").append(caption(moment))
    if moment.ending is not None:
        text.append(f"  {moment.ending}", _SHADES.get(moment.ending, "bold"))
    return text.append("\n")


def _title(trained: TrainedAgent, number: int) -> tuple[str, str]:
    return trained.env, f"{trained.arm.name} {trained.segment}, episode {number + 1}"


def _introduction(trained: TrainedAgent) -> str:
    result = trained.result
    returned = wording.number(result.mean_return)
    return (
        f"{trained.arm.study}/{trained.arm.name}, configuration {trained.segment.config}, seed {trained.segment.seed},"
        f" after {wording.env_steps(result.env_steps)}: mean return {returned}"
    )


def _compared(trained: TrainedAgent, played: Episodes) -> str:
    """How the evaluation that was played once more compares with what the ledger says of it."""
    what = f"its evaluation, {wording.count(len(played.returns), 'episode')}"
    if played.mean_return == trained.result.mean_return:
        return f"{what}: mean return {wording.number(played.mean_return)}, exactly as in the ledger"
    return (
        f"{what}: mean return {wording.number(played.mean_return)}, where the ledger has"
        f" {wording.number(trained.result.mean_return)}: other library versions, or another"
        " kind of processor, than it was trained with"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)
