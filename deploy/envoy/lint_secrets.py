"""Finds faults in the files behind SDS, which Envoy reads only when it runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from deploy.envoy.tree import Tree


def secret_faults(reference: Tree) -> Iterator[str]:
    """What is wrong with the secret that a configuration refers to by name and file."""
    source = reference["sds_config"].get("path_config_source", {})
    path = Path(source.get("path", ""))
    if not source.get("watched_directory"):
        yield "its SDS file is not watched"
    try:
        resources = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["resources"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        yield f"its SDS file {path} cannot be read: {error}"
        return
    secrets = [secret for secret in resources if secret.get("name") == reference.get("name")]
    if not secrets:
        yield f"{path} holds no secret of this name"
    for secret in secrets:
        yield from _content_faults(secret)


def _content_faults(secret: Tree) -> Iterator[str]:
    if "tls_certificate" in secret:
        yield from _certificate_faults(secret["tls_certificate"])
    else:
        yield from _authority_faults(secret.get("validation_context", {}))


def _certificate_faults(certificate: Tree) -> Iterator[str]:
    if not certificate.get("watched_directory"):
        yield "its files are not watched: a new certificate goes unnoticed"
    try:
        chain = x509.load_pem_x509_certificates(_content(certificate, "certificate_chain"))
        key = load_pem_private_key(_content(certificate, "private_key"), password=None)
    except (OSError, ValueError, TypeError) as error:
        yield f"cannot be loaded: {error}"
        return
    if chain[0].public_key() != key.public_key():
        yield "the private key is not the certificate's"
    yield from _time_faults(chain)


def _authority_faults(context: Tree) -> Iterator[str]:
    if not context.get("watched_directory"):
        yield "its file is not watched: a new authority goes unnoticed"
    try:
        chain = x509.load_pem_x509_certificates(_content(context, "trusted_ca"))
    except (OSError, ValueError) as error:
        yield f"cannot be loaded: {error}"
        return
    yield from _time_faults(chain)


def _time_faults(chain: list[x509.Certificate]) -> Iterator[str]:
    now = datetime.now(UTC)
    for certificate in chain:
        first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not first <= now <= last:
            yield f"{certificate.subject.rfc4514_string()} is good only from {first} to {last}"


def _content(holder: Tree, field: str) -> bytes:
    return Path(holder.get(field, {}).get("filename", "")).read_bytes()
