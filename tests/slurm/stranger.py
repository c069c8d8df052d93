"""Another user of this machine, who tries what a study on Slurm keeps to itself; prints how far each try got, as JSON.

    python stranger.py KEYS ADDRESS,ADDRESS,... PATH,PATH,...     # as root, who turns into nobody

KEYS is the folder with the driver's keys; ADDRESSes are all that driver and workers listen at, the scheduler's first.
What became of a try is `refused: ...` or `got in`. With the keys, which it reads while still root, it must get in:
else its being refused without them would say nothing.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from distributed import Client, Security

SECONDS = 5.0


def tried(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except (OSError, EOFError) as error:  # TimeoutError and ssl.SSLError are OSErrors
        return f"refused: {type(error).__name__}: {error}"
    return "got in"


def hears(address: str, certificate: Path | None) -> None:
    """Raises unless the other side, which speaks first once it accepts somebody, says something."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate)
    with connected(address) as plain, context.wrap_socket(plain) as encrypted:
        if not encrypted.recv(1):
            raise EOFError("hung up")


def hears_plainly(address: str) -> None:
    """Raises unless something that is not TLS answers."""
    with connected(address) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = plain.recv(1)
        if answer in (b"", b"\x15"):  # a TLS alert
            raise EOFError("hung up")


def connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), SECONDS)


def is_client(address: str, security: Security | None) -> None:
    protocol = "tcp" if security is None else "tls"
    Client(f"{protocol}://{address}", security=security, timeout=SECONDS, set_as_default=False).close()


def reads(path: Path) -> None:
    """Raises unless a folder can be listed, or a file read."""
    if path.stat() and path.is_dir():
        list(path.iterdir())
    else:
        path.read_bytes()


def main(keys: Path, addresses: list[str], paths: list[Path]) -> dict[str, str]:
    def pem(name: str, *texts: str | None) -> Path:
        (folder / name).write_text("".join(filter(None, texts)))
        os.chown(folder / name, nobody.pw_uid, nobody.pw_gid)
        return folder / name

    nobody, own = pwd.getpwnam("nobody"), Security.temporary()
    texts = [file.read_text() for file in keys.iterdir() if file.stat().st_size]
    key = next(text for text in texts if "PRIVATE KEY" in text)
    certificate = next(text for text in texts if "BEGIN CERTIFICATE" in text)
    theirs = Security(tls_ca_file=certificate, tls_client_cert=certificate, tls_client_key=key, require_encryption=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        stolen, made = pem("stolen", certificate, key), pem("made", own.tls_client_cert, own.tls_client_key)
        is_client(addresses[0], theirs)  # so that all that is ever imported is: nobody may not see it
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
        scheduler, tries = addresses[0], {}
        tries["scheduler, a plain client"] = tried(lambda: is_client(scheduler, None))
        tries["scheduler, a client with a certificate of its own"] = tried(lambda: is_client(scheduler, own))
        tries["scheduler, a client with the keys"] = tried(lambda: is_client(scheduler, theirs))
        for address in addresses:
            tries[f"{address}, without TLS"] = tried(lambda: hears_plainly(address))  # noqa: B023 (called at once)
            tries[f"{address}, without a certificate"] = tried(lambda: hears(address, None))  # noqa: B023
            tries[f"{address}, with a certificate of its own"] = tried(lambda: hears(address, made))  # noqa: B023
            tries[f"{address}, with the keys"] = tried(lambda: hears(address, stolen))  # noqa: B023
        return tries | {f"read {path}": tried(lambda: reads(path)) for path in paths}  # noqa: B023


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2].split(","), [Path(p) for p in sys.argv[3].split(",")])))
    os._exit(0)  # not by what nobody may not import
