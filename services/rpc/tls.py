"""Mutual TLS inside the mesh, with certificates that may be replaced at any time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True)
class TlsFiles:
    """Where an identity lies on disk, as PEM.

    Attributes:
        certificate: The identity's certificate chain.
        private_key: Its private key.
        authority: The authorities whose certificates are trusted.
    """

    certificate: Path
    private_key: Path
    authority: Path

    def read(self) -> TlsMaterial:
        """Read all three files.

        Raises:
            OSError: One cannot be read.
        """
        return TlsMaterial(
            self.certificate.read_bytes(), self.private_key.read_bytes(), self.authority.read_bytes()
        )

    def version(self) -> tuple[int, ...]:
        """Changes whenever a file is replaced.

        Raises:
            OSError: One is missing.
        """
        stats = [path.stat() for path in (self.certificate, self.private_key, self.authority)]
        return tuple(number for stat in stats for number in (stat.st_ino, stat.st_mtime_ns))


@dataclass(frozen=True, repr=False)
class TlsMaterial:
    """An identity in memory. Its repr is left out on purpose: it holds a private key."""

    certificate: bytes
    private_key: bytes
    authority: bytes


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials that demand a client certificate and follow replaced files.

    Raises:
        OSError: A file cannot be read now. Later a missing or broken file only
            keeps the old certificate in use.
    """
    seen = files.version()

    def configuration() -> grpc.ServerCertificateConfiguration:
        material = files.read()
        return grpc.ssl_server_certificate_configuration(
            [(material.private_key, material.certificate)], root_certificates=material.authority
        )

    def refresh() -> grpc.ServerCertificateConfiguration | None:
        nonlocal seen
        try:
            version = files.version()
            if version == seen:
                return None
            fresh = configuration()
        except OSError:
            return None
        seen = version
        return fresh

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        refresh,  # type: ignore[arg-type]  # None means unchanged, which the stubs do not know
        require_client_authentication=True,
    )


def channel_credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    """Credentials that show this identity. `RotatingChannel` makes new ones after a replacement.

    Raises:
        OSError: A file cannot be read.
    """
    material = files.read()
    return grpc.ssl_channel_credentials(
        root_certificates=material.authority,
        private_key=material.private_key,
        certificate_chain=material.certificate,
    )


def peer_name(auth_context: Mapping[str, Iterable[bytes]], trust_domain: str) -> str | None:
    """The name in the client certificate's SPIFFE id, `spiffe://<trust domain>/<name>`.

    None where the certificate has no id of this trust domain, or more than one
    (the SPIFFE X.509 profile, section 2, allows one).
    """
    names = [
        bytes(name).decode("utf-8", "replace")
        for name in auth_context.get("x509_subject_alternative_name", ())
    ]
    ids = [name for name in names if name.startswith("spiffe://")]
    prefix = f"spiffe://{trust_domain}/"
    if len(ids) != 1 or not ids[0].startswith(prefix):
        return None
    return ids[0].removeprefix(prefix)
