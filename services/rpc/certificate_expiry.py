"""Tells when a service's mesh certificate is over."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from prometheus_client import Gauge

EXPIRY = Gauge(
    "parley_tls_certificate_expiry_timestamp_seconds",
    "When the mesh certificate expires, in seconds since 1970; 0 where its file cannot be read.",
)


def watch_certificate(path: Path) -> None:
    """Tell of the certificate that lies there whenever metrics are scraped: it may be replaced."""
    EXPIRY.set_function(lambda: expiry(path))


def expiry(path: Path) -> float:
    """When the first certificate of the file expires; 0, which raises the alarm, where there is none."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return 0.0
