"""Ways to damage a file or a folder: what disks, editors, copies and strangers do."""

from __future__ import annotations

import copy
import json
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from grownn_hpo.store.commit import seal, unseal

ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, -(10**30), 10**400, 0.5, 1e308, -1e308, 5e-324),
    *(
        float("nan"),
        float("inf"),
        "",
        "x",
        "0",
        "NaN",
        "../../x",
        "/etc/passwd",
        "a\x00b",
        "\x1b[2J",
        "\u202e",
        "é" * 99,
    ),
    *([], {}, [[]], [None], {"": {}}, {"a": 1}, "x" * 10_000),
]
"""Values that nothing of ours expects in most places."""
NAMES = ["", "x", "format", "sha256", "name", "../x", "\x1b[31m", "<<", "__class__", "é", "config"]


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a mapping or list."""
    inside = list(node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ())
    return [(*path, key) for key, _ in inside] + [p for key, item in inside for p in places(item, (*path, key))]


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """`value` with one to three things dropped, doubled, retyped, renamed, nested or moved."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        where = places(value)
        if not where:
            break
        *parents, last = draw(st.sampled_from(where))
        node = value
        for part in parents:
            node = node[part]
        match draw(st.sampled_from(["drop", "odd", "double", "rename", "nest", "deep", "nudge", "move"])):
            case "drop":
                del node[last]
            case "odd":
                node[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
            case "double" if isinstance(node, list):
                node.insert(0, copy.deepcopy(node[last]))
            case "rename" if isinstance(node, dict):
                node[draw(st.sampled_from(NAMES))] = node.pop(last)
            case "nest":
                node[last] = draw(st.sampled_from([[node[last]], {"": node[last]}]))
            case "deep":
                for _ in range(draw(st.sampled_from([10, 35, 60]))):
                    node[last] = [node[last]]
            case "nudge" if type(node[last]) in (int, float):
                node[last] += draw(st.sampled_from([-1, 1, 0.5, 1000]))
            case _:
                other = draw(st.sampled_from(where))
                target: Any = value
                try:
                    for part in other[:-1]:
                        target = target[part]
                    target[other[-1]] = copy.deepcopy(node[last])
                except (KeyError, IndexError, TypeError):
                    continue
    return value


@st.composite
def changed_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` with bits flipped, cut short, with something put in, or something else altogether."""
    at = draw(st.integers(0, max(0, len(data) - 1)))
    match draw(st.sampled_from(["flip", "cut", "append", "insert", "zero", "repeat", "other", "empty"])):
        case "flip" if data:
            return data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
        case "cut":
            return data[:at]
        case "append":
            return data + draw(st.binary(min_size=1, max_size=20) | st.sampled_from([b"\n", b"\x00" * 4096, b"{}"]))
        case "insert":
            return data[:at] + draw(st.binary(min_size=1, max_size=5)) + data[at:]
        case "zero":
            return data[:at] + bytes(min(512, len(data) - at)) + data[at + 512 :]
        case "repeat":
            return data + data
        case "empty":
            return b""
        case _:
            return draw(st.binary(max_size=200) | st.sampled_from([b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000]))


def link_outside(path: Path, outside: Path) -> None:
    """Moves what is at `path` out of the study, and leaves a link to it."""
    target = outside / f"moved-{path.name}"
    shutil.move(path, target)
    path.symlink_to(target)


def _gone(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _in_its_place(make: Callable[[Path], object]) -> Callable[[Path, Path], None]:
    def damage(path: Path, outside: Path) -> None:
        _gone(path)
        make(path)

    return damage


def _socket(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_PATH)
    try:  # by way of a short name: a socket's is bounded
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{descriptor}/{path.name}")
    finally:
        os.close(descriptor)


def _device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
        os.close(os.open(path, os.O_RDONLY))
    except PermissionError:  # only root may, and not on every file system
        path.unlink(missing_ok=True)
        os.mkfifo(path)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


STRANGE: dict[str, Callable[[Path, Path], None]] = {
    "gone": lambda path, outside: _gone(path),
    "link outside": link_outside,
    "dangling link": _in_its_place(lambda path: path.symlink_to("/nowhere/at/all")),
    "link to itself": _in_its_place(lambda path: path.symlink_to(path.name)),
    "link to a device": _in_its_place(lambda path: path.symlink_to("/dev/zero")),
    "fifo": _in_its_place(os.mkfifo),
    "device": _in_its_place(_device),
    "socket": _in_its_place(_socket),
    "folder": _in_its_place(lambda path: path.mkdir()),
    "file": _in_its_place(lambda path: path.write_bytes(b"{}")),
    "a terabyte of zeros": _in_its_place(_sparse),
}
"""What can come to stand in the place of a file or a folder."""


@st.composite
def changed_json(draw: st.DrawFn, data: bytes) -> bytes:
    """The JSON in `data` mutated; where it was sealed, sealed anew or not. JSON lines: one of them."""
    try:
        content, sealed = unseal(data), True
    except ValueError:
        content, sealed = data, False
    try:
        value = json.loads(content)
    except ValueError:
        lines = content.split(b"\n")
        at = draw(st.integers(0, len(lines) - 1))
        try:
            lines[at] = json.dumps(draw(mutated(json.loads(lines[at])))).encode()
        except ValueError:
            return draw(changed_bytes(data))
        return b"\n".join(lines)
    text = json.dumps(draw(mutated(value)), indent=1).encode()
    return seal(text) if sealed and draw(st.booleans()) else text
