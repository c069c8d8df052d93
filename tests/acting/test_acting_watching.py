from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from needed import needed
from PIL import Image

from grownn_hpo.acting import characters
from grownn_hpo.acting.pictures import draw
from grownn_hpo.acting.trained import TrainedAgent, load_agent
from grownn_hpo.acting.watching import Ending, Moment, pace, watch
from grownn_hpo.cli.watching import WINDOWLESS, show
from grownn_hpo.errors import GrowNNError, InputError
from grownn_hpo.store.paths import ArmFolder


@pytest.fixture(scope="module")
def room(rooms: ArmFolder) -> TrainedAgent:
    return load_agent(rooms, 1, 3, 0)


@pytest.mark.parametrize("number", [0, 3])
def test_the_watched_episode_is_the_evaluated_one(room: TrainedAgent, number: int) -> None:
    moments: list[Moment] = []
    played = watch(room, number, moments.append)
    assert played == room.replay()
    assert [m.step for m in moments] == list(range(played.lengths[number] + 1))
    assert moments[-1].total == played.returns[number]
    assert [m.ending for m in moments[:-1]] == [None] * played.lengths[number]
    assert moments[-1].ending is (Ending.SUCCESS if played.successes[number] else Ending.FAILURE)
    assert moments[0].action is None
    assert {m.action for m in moments[1:]} <= set(room.action_names)
    # The hero is on every screen: at the end NetHack shows an empty one, and what is kept is the last that was real.
    assert all((m.observation == ord("@")).sum() == 1 for m in moments)


def test_an_episode_that_was_not_evaluated_is_refused(room: TrainedAgent) -> None:
    with pytest.raises(InputError, match="episode = 5: the agent's evaluation had 4 episodes, 1 to 4"):
        watch(room, 4, lambda moment: None)


def test_drawing_changes_no_episode(pendulum: ArmFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", os.environ.get("MUJOCO_GL", WINDOWLESS["MUJOCO_GL"]))
    agent = load_agent(pendulum, 1, 1, 0)
    moments: list[Moment] = []
    try:
        played = watch(agent, 1, moments.append, 25)
    except GrowNNError as error:  # no OpenGL on this machine: then that must be what it says
        assert "cannot be drawn" in str(error)  # noqa: PT017
        assert "MUJOCO_GL=osmesa" in str(error)  # noqa: PT017
        return
    assert played.mean_return == agent.result.mean_return
    assert moments[-1].total == played.returns[1]
    assert moments[-1].step == played.lengths[1]
    assert [pace(agent, most) for most in (60, 25, 12.5, 10)] == [25, 25, 12.5, 25 / 3]  # it has 25 env steps a second
    pictures = [m.picture for m in moments]
    assert all(p is not None and p.shape == (480, 480, 3) and p.std() > 5 for p in pictures)
    assert not np.array_equal(pictures[0], pictures[-1])


def test_where_nothing_can_be_drawn_it_says_what_to_do(
    pendulum: ArmFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (WINDOWLESS | {"MUJOCO_GL": "nonsense"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(GrowNNError, match=r"InvertedPendulum-v4 cannot be drawn: .*MUJOCO_GL=nonsense: install Mesa"):
        show(pendulum.root, None, 1, tmp_path / "pendulum.gif", tmp_path)
    assert [*tmp_path.iterdir()] == []


def screen(*rows: str) -> np.ndarray:
    whole = np.full((21, 79), ord(" "), np.uint8)
    for number, row in enumerate(rows, 3):
        whole[number, 10 : 10 + len(row)] = [ord(c) for c in row]
    return whole


def test_only_what_is_ever_shown_is_drawn() -> None:
    one, other = screen("---", "|@|"), screen("", "", "..>")
    part = characters.extent([one, other])
    assert characters.lines(one, *part) == ("---", "|@|", "   ")
    assert characters.lines(other, *part) == ("   ", "   ", "..>")
    assert characters.lines(np.zeros((21, 79), np.uint8), *characters.extent([np.zeros((21, 79), np.uint8)])) == (" ",)


def test_a_map_is_drawn_in_its_colours_above_its_caption() -> None:
    seen = screen("..@.>", ".d...")
    part = characters.extent([seen])
    moments = [
        Moment(7, seen, "north-west", -0.01, 0.98, ending, None) for ending in (None, Ending.SUCCESS, Ending.FAILURE)
    ]
    drawn = [
        draw(moment, ("MiniHack-Room-Ultimate-15x15-v0", "grown-3 c0001/s0/r3, episode 1"), part) for moment in moments
    ]
    assert len({picture.size for picture in drawn}) == 1
    colours = {colour for _, colour in drawn[0].getcolors(1 << 16) or ()}
    assert {characters.HERO.rgb, characters.MONSTER.rgb, characters.STAIRS.rgb, characters.BACKGROUND} <= colours
    assert len({picture.tobytes() for picture in drawn}) == 3
    # Nothing runs out of the picture: the rightmost column is background.
    for picture in drawn:
        edge = np.asarray(picture)[:, -1]
        assert (edge == characters.BACKGROUND).all()


def test_a_film_of_a_room(rooms: ArmFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = tmp_path / "room.gif"
    show(rooms.root, 1, 2, film, tmp_path)
    said = capsys.readouterr()
    assert said.out == f"{film}\n"
    assert "exactly as in the ledger" in said.err
    replayed = load_agent(rooms, 1, 3, 1).replay()
    for number in (0, 1):
        assert (
            f"episode {number + 1}: return {replayed.returns[number]:.4g}, {replayed.lengths[number]} env" in said.err
        )
    with Image.open(film) as opened:
        durations = []
        for frame in range(opened.n_frames):
            opened.seek(frame)
            durations.append(opened.info["duration"])
    # Pictures that are the same are shown longer instead: a step against a wall still changes the caption.
    assert len(durations) == sum(replayed.lengths[:2]) + 2
    assert sorted(set(durations)) == [200, 1500]


def test_in_a_terminal(rooms: ArmFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(rooms.root, 0, 1, None, tmp_path)
    said = capsys.readouterr()
    assert said.out == ""
    maps = said.err.split("MiniHack-Room-Random-5x5-v0, grown-3 c0001/s0/r3, episode 1\n")
    assert len(maps) == load_agent(rooms, 1, 3, 0).replay().lengths[0] + 2
    assert maps[0].count("@") == 1
    assert "step 0" in maps[1]


def test_an_mp4_plays_as_long(rooms: ArmFolder, tmp_path: Path) -> None:
    ffmpeg = needed("imageio_ffmpeg", "video")
    film = tmp_path / "room.mp4"
    show(rooms.root, 0, 1, film, tmp_path)
    frames, seconds = ffmpeg.count_frames_and_secs(str(film))
    steps = load_agent(rooms, 1, 3, 0).replay().lengths[0]
    assert frames == steps + round(1.5 * 5)
    assert seconds == pytest.approx(frames / 5, abs=0.2)


@pytest.mark.parametrize(
    ("episodes", "name", "said"),
    [
        (1, "room.avi", "the file's name must end in .gif or .mp4"),
        (1, "nowhere/room.gif", "there is no folder"),
        (5, "room.gif", "--episodes 5: the agent's last evaluation had 4"),
    ],
)
def test_films_that_cannot_be(rooms: ArmFolder, tmp_path: Path, episodes: int, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        show(rooms.root, None, episodes, tmp_path / name, tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_pixels_need_a_file(pendulum: ArmFolder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"InvertedPendulum-v4 is drawn in pixels, .* -o FILE.gif"):
        show(pendulum.root, None, 1, None, tmp_path)
