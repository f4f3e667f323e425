"""TLS on both sides of the edge, with files that may be replaced at any time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy.envoy.settings import EdgeSettings
from deploy.envoy.tree import Tree, extension, typed

IDENTITY = "edge-identity"
PUBLIC = "edge-public"
AUTHORITY = "mesh-authority"

TLS = "envoy.extensions.transport_sockets.tls.v3"


@dataclass(frozen=True)
class SecretFiles:
    """Where the SDS files lie that name the certificates.

    Attributes:
        folder: The folder of all of them.
    """

    folder: Path

    def path(self, name: str) -> Path:
        """The SDS file of a secret."""
        return self.folder / f"{name}.yaml"


def secrets(settings: EdgeSettings) -> dict[str, Tree]:
    """The content of each SDS file, by the name of its secret.

    Envoy reads the PEM files again when something is renamed into the watched
    folder; a file that is written in place goes unnoticed.
    """
    public_certificate = settings.public_certificate_path or settings.tls_certificate_path
    public_key = settings.public_private_key_path or settings.tls_private_key_path
    return {
        IDENTITY: _certificate(IDENTITY, settings.tls_certificate_path, settings.tls_private_key_path),
        PUBLIC: _certificate(PUBLIC, public_certificate, public_key),
        AUTHORITY: _authority(settings.tls_authority_path),
    }


def downstream(files: SecretFiles) -> Tree:
    """TLS towards callers."""
    return extension(
        "envoy.transport_sockets.tls",
        f"{TLS}.DownstreamTlsContext",
        common_tls_context={
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificate_sds_secret_configs": [_reference(files, PUBLIC)],
        },
        session_timeout="3600s",
    )


def downstream_of(files: SecretFiles, service: str, trust_domain: str) -> Tree:
    """Mutual TLS towards one service of the mesh that calls as others do."""
    return extension(
        "envoy.transport_sockets.tls",
        f"{TLS}.DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context={"alpn_protocols": ["h2"], **_mutual(files, service, trust_domain)},
    )


def upstream(files: SecretFiles, service: str, trust_domain: str, protocol: str = "h2") -> Tree:
    """Mutual TLS towards a service, which must show exactly its own SPIFFE id.

    The ALPN protocol is spelled out: without `h2` grpc refuses the connection, and
    `envoy --mode validate` says nothing.
    """
    return extension(
        "envoy.transport_sockets.tls",
        f"{TLS}.UpstreamTlsContext",
        sni=f"{service}.{trust_domain}",
        common_tls_context={"alpn_protocols": [protocol], **_mutual(files, service, trust_domain)},
    )


def _mutual(files: SecretFiles, service: str, trust_domain: str) -> Tree:
    """The edge's identity, and whom alone it talks to."""
    spiffe_id = f"spiffe://{trust_domain}/{service}"
    return {
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
        },
        "tls_certificate_sds_secret_configs": [_reference(files, IDENTITY)],
        "combined_validation_context": {
            "default_validation_context": {
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": spiffe_id}}]
            },
            "validation_context_sds_secret_config": _reference(files, AUTHORITY),
        },
    }


def _reference(files: SecretFiles, name: str) -> Tree:
    source = {"path": str(files.path(name)), "watched_directory": {"path": str(files.folder)}}
    return {"name": name, "sds_config": {"resource_api_version": "V3", "path_config_source": source}}


def _certificate(name: str, certificate: Path, private_key: Path) -> Tree:
    return _secret(
        name,
        tls_certificate={
            "certificate_chain": {"filename": str(certificate.absolute())},
            "private_key": {"filename": str(private_key.absolute())},
            "watched_directory": {"path": str(watched(certificate))},
        },
    )


def _authority(path: Path) -> Tree:
    return _secret(
        AUTHORITY,
        validation_context={
            "trusted_ca": {"filename": str(path.absolute())},
            "watched_directory": {"path": str(watched(path))},
        },
    )


def _secret(name: str, **content: Tree) -> Tree:
    secret = typed(f"{TLS}.Secret", name=name, **content)
    return {"resources": [secret]}


def watched(path: Path) -> Path:
    """The folder in which a new version of the file appears by a rename.

    Where the file lies behind a symbolic link to a folder, as `certificates.py`,
    Kubernetes and cert-manager keep them, it is the link that is swapped.
    """
    folder = path.absolute().parent
    return folder.parent if folder.is_symlink() else folder
