"""Another program's own server, in a process of its own, and what it answers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from driven import wait
from program import surroundings


@contextmanager
def served(log: Path, program: str, *words: object) -> Iterator[str]:
    """Its address, once it listens there; `program` is the code that runs it with these words and a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", program, *map(str, words), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=surroundings(), stdout=out, stderr=out)
    try:

        def listens() -> bool:
            assert process.poll() is None, log.read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait(listens, 150, lambda: f"does not listen: {log.read_text()}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def asked(url: str, request: object = None) -> Any:
    """The JSON that is answered: to a GET, or to a POST of `request`."""
    data = None if request is None else json.dumps(request).encode()
    told = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(told, timeout=100) as answer:
        return json.load(answer)
