"""The key pair that a driver and its workers know each other by; made for one run, and kept nowhere by this room."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from distributed import Security

NAME = "grownn"
# "No well-defined expiration date", RFC 5280, section 4.1.2.5. What ends the pair's life is the end of its driver.
FIRST, LAST = datetime.datetime(2000, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59)


def new_security() -> Security:
    """Encryption for one cluster, by a fresh self-signed certificate that all its processes present.

    Dask's own `Security.temporary` lets it begin this very second: a worker whose clock is behind, or a clock that is
    set back while a study runs, and nobody could connect any more.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), FIRST, LAST)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    public = certificate.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    roles = ("client", "scheduler", "worker")
    pairs = {f"tls_{role}_{what}": text for role in roles for what, text in (("key", private), ("cert", public))}
    return Security(require_encryption=True, tls_ca_file=public, **pairs)
