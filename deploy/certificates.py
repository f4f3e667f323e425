"""A certificate authority for one machine: the mesh's identities on embedded defaults.

A cluster uses its own (cert-manager, SPIRE); the services only see files.
"""

from __future__ import annotations

import ipaddress
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.rpc.tls import TlsFiles

AUTHORITY_DAYS = 3650
LEAF_DAYS = 90
CLOCK_SKEW = timedelta(minutes=5)
LOOPBACK = ("localhost", "127.0.0.1", "::1")

CERTIFICATE = "certificate.pem"
PRIVATE_KEY = "private-key.pem"  # a file's name  # pragma: allowlist secret
AUTHORITY = "authority.pem"
CURRENT = "current"


class CertificateAuthority:
    """Issues identities into a folder.

    Layout: `<folder>/authority/{certificate,private-key}.pem` and, for each
    name, `<folder>/<name>/current/{certificate,private-key,authority}.pem`,
    where `current` is a symbolic link that is swapped in one step, so that a
    reader never sees a key without its certificate and Envoy's
    `watched_directory` notices.
    """

    def __init__(
        self, folder: Path, trust_domain: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> None:
        """Use `open` instead."""
        self._folder = folder
        self._trust_domain = trust_domain
        self._key = key
        self._certificate = certificate

    @classmethod
    def open(cls, folder: Path, trust_domain: str = "parley.local") -> CertificateAuthority:
        """Load the authority in this folder, or make one.

        Raises:
            OSError: The folder cannot be used.
            ValueError: What lies there is no authority.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        home = folder / "authority"
        if not (home / PRIVATE_KEY).exists():
            _make_authority(home, trust_domain)
        key = serialization.load_pem_private_key((home / PRIVATE_KEY).read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{home / PRIVATE_KEY} holds no elliptic-curve key")  # noqa: TRY004 - a value in a file
        certificate = x509.load_pem_x509_certificate((home / CERTIFICATE).read_bytes())
        return cls(folder, trust_domain, key, certificate)

    @property
    def certificate_path(self) -> Path:
        """The authority's own certificate, which clients of the edge trust."""
        return self._folder / "authority" / CERTIFICATE

    def identity(self, name: str) -> TlsFiles:
        """Where the identity's files lie, or will."""
        current = self._folder / name / CURRENT
        return TlsFiles(current / CERTIFICATE, current / PRIVATE_KEY, current / AUTHORITY)

    def issue(self, name: str, hosts: Sequence[str] = LOOPBACK, days: int = LEAF_DAYS) -> TlsFiles:
        """Issue an identity, replacing the one before in one step.

        Args:
            name: Last part of the SPIFFE id, `spiffe://<trust domain>/<name>`.
            hosts: Host names and addresses that it also stands for, beside
                `<name>.<trust domain>`.
            days: Time that the certificate is good for.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(name, hosts, days, key.public_key())
        version = Path(tempfile.mkdtemp(prefix="v-", dir=_private_folder(self._folder / name)))
        _write(version / PRIVATE_KEY, _key_pem(key))
        _write(version / CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM))
        _write(version / AUTHORITY, self.certificate_path.read_bytes())
        _swap(self._folder / name / CURRENT, version)
        return self.identity(name)

    def _sign(
        self, name: str, hosts: Sequence[str], days: int, public_key: ec.EllipticCurvePublicKey
    ) -> x509.Certificate:
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        names: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(f"spiffe://{self._trust_domain}/{name}"),
            x509.DNSName(f"{name}.{self._trust_domain}"),
            *(_host(host) for host in hosts),
        ]
        builder = _builder(name, self._certificate.subject, days, public_key)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        return builder.sign(self._key, hashes.SHA256())


def _make_authority(home: Path, trust_domain: str) -> None:
    """Write a new self-signed authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = f"Parley authority of {trust_domain}"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(name, subject, AUTHORITY_DAYS, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )
    builder = builder.add_extension(_authority_usage(), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    _private_folder(home)
    _write(home / CERTIFICATE, certificate.public_bytes(serialization.Encoding.PEM))
    _write(home / PRIVATE_KEY, _key_pem(key))


def _builder(
    common_name: str, issuer: x509.Name, days: int, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    """What every certificate has."""
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _authority_usage() -> x509.KeyUsage:
    """An authority signs certificates and nothing else."""
    return x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    """A host as a subject alternative name: an address where it is one."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _private_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _write(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _swap(link: Path, target: Path) -> None:
    """Point the link at the target in one step, and remove what it pointed at."""
    before = link.resolve() if link.is_symlink() else None
    fresh = link.with_name(f"{link.name}.{target.name}")
    fresh.symlink_to(target.name)
    fresh.replace(link)
    if before is not None and before != target.resolve():
        for file in before.iterdir():
            file.unlink()
        before.rmdir()
