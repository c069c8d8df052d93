"""Curve and progress: floats read back exactly, torn tails are dropped, nothing else is."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grownn_hpo.store.curve import Tick, append_point, append_tick, read_curve, read_ticks
from grownn_hpo.store.paths import CURVE, PROGRESS
from grownn_hpo.trial import CurvePoint

numbers = st.floats(allow_nan=False)
points = st.lists(
    st.builds(CurvePoint, st.integers(0, 2**53), numbers, numbers, numbers, st.none() | numbers, st.integers(1, 10**6)),
    max_size=5,
)
seconds = st.floats(0, allow_nan=False, allow_infinity=False)
losses = st.none() | numbers
ticks = st.lists(
    st.builds(Tick, st.integers(0, 2**53), seconds, losses, losses, losses, losses, losses, losses), max_size=5
)


@settings(max_examples=60, deadline=None)
@given(points, ticks, st.floats(0, 1))
def test_what_is_appended_reads_back_but_for_a_torn_tail(
    points: list[CurvePoint], ticks: list[Tick], cut: float
) -> None:
    with tempfile.TemporaryDirectory() as name:
        attempt = Path(name)
        assert read_curve(attempt) == read_ticks(attempt) == ()
        for point in points:
            append_point(attempt, point)
        for tick in ticks:
            append_tick(attempt, tick)
        assert repr(read_curve(attempt)) == repr(tuple(points))
        assert repr(read_ticks(attempt)) == repr(tuple(ticks))
        for file, written, read, header in ((CURVE, points, read_curve, 1), (PROGRESS, ticks, read_ticks, 0)):
            if not written:
                continue
            whole = (attempt / file).read_bytes()
            kept = whole[: int(cut * len(whole))]
            (attempt / file).write_bytes(kept)
            lines = max(0, kept.count(b"\n") - header)
            assert read(attempt) == tuple(written[:lines])


@pytest.mark.parametrize("damage", [b"\0\0\0\0\n", b"1,2,3\n", b"a,b,c,d,e,f\n", b"\xff\xfe\n", b"\n", b'"\n', b"{}\n"])
def test_a_damaged_line_is_dropped_and_the_others_stay(tmp_path: Path, damage: bytes) -> None:
    first, second = CurvePoint(8, 1.0, 0.5, 10.0, None, 4), CurvePoint(16, 2.0, 0.5, 10.0, 0.25, 4)
    for point, tick in ((first, Tick(8, 0.5, None)), (second, Tick(16, 1.0, 1.5))):
        append_point(tmp_path, point)
        append_tick(tmp_path, tick)
        if point is first:
            for file in (CURVE, PROGRESS):
                with (tmp_path / file).open("ab") as stream:
                    stream.write(damage)
    assert read_curve(tmp_path) == (first, second)
    assert read_ticks(tmp_path) == (Tick(8, 0.5, None), Tick(16, 1.0, 1.5))
