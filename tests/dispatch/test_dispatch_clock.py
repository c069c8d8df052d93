from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from distributed import Client, LocalCluster, batched
from distributed.batched import BatchedSend
from tornado.ioloop import IOLoop, PeriodicCallback

from grownn_hpo.dispatch import clock, open_dispatcher

HOUR = 3600.0
assert clock.__name__  # its import is what is tested


class WallClock:
    """A wall clock that can be set."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._real = time.time

    def __call__(self) -> float:
        return self._real() + self.ahead


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> WallClock:
    clock = WallClock()
    monkeypatch.setattr(time, "time", clock)
    return clock


class Comm:
    """Takes what is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def closed(self) -> bool:
        return False

    async def write(self, message: Any, **_: Any) -> int:
        self.sent += message
        return 1


def test_messages_are_sent_although_the_clock_was_set_back(wall_clock: WallClock) -> None:
    async def send() -> Comm:
        comm, stream = Comm(), BatchedSend(interval="2ms")
        stream.start(comm)
        for number in range(6):
            stream.send(number)
            await asyncio.sleep(0)
            wall_clock.ahead -= HOUR
            await asyncio.sleep(0.02)
        return comm

    assert asyncio.run(send()).sent == list(range(6))


def test_heartbeats_go_on_although_the_clock_was_set_back(wall_clock: WallClock) -> None:
    async def beat() -> int:
        beats: list[None] = []
        callback = PeriodicCallback(lambda: beats.append(None), 5)
        callback.start()
        await asyncio.sleep(0.05)
        wall_clock.ahead -= HOUR
        before = len(beats)
        await asyncio.sleep(0.1)
        callback.stop()
        return len(beats) - before

    assert asyncio.run(beat()) > 3


def steady() -> bool:
    return batched.time is time.monotonic and IOLoop.current().time() < time.time() / 2


def test_workers_have_that_clock_too(monkeypatch: pytest.MonkeyPatch) -> None:
    clusters: list[LocalCluster] = []
    begin = LocalCluster.__init__
    monkeypatch.setattr(
        LocalCluster, "__init__", lambda self, *a, **k: (clusters.append(self), begin(self, *a, **k))[1]
    )
    with open_dispatcher(1, inline=False), Client(clusters[0], set_as_default=False) as client:
        assert all(client.run(steady).values())
        assert all(client.run(steady, nanny=True).values())
