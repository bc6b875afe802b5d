"""TLS to a server: whom we trust, who we say we are, and whether the server's certificate is checked at all.

Invariants: files are tried when the settings are read, so a start lists what is wrong with them. An encrypted key is a
problem like any other; OpenSSL would ask for its passphrase at the terminal. Certificates are verified unless a setting
says otherwise, and `unverified` names each of those.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tsync_stream.core.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Files in PEM form. Without `ca_file`, the authorities of SSL_CERT_FILE, SSL_CERT_DIR or certifi are trusted."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    verify: bool = True


VERIFIED = TlsSettings()
"""No files of our own."""


def client_context(tls: TlsSettings) -> ssl.SSLContext:
    """What connections to one server use. Raises `ConfigurationError` if a file can no longer be read."""
    context = trusted_context(tls.ca_file)
    if tls.cert_file is not None:
        try:
            present_certificate(context, tls.cert_file, tls.key_file)
        except ValueError as error:
            raise ConfigurationError(f"{tls.cert_file}: {error}") from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def trusted_context(ca_file: Path | None) -> ssl.SSLContext:
    """A context that trusts the authorities of a file, otherwise those of SSL_CERT_FILE, SSL_CERT_DIR or certifi."""
    try:
        return httpx.create_ssl_context() if ca_file is None else ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        place = "SSL_CERT_FILE or SSL_CERT_DIR" if ca_file is None else str(ca_file)
        raise ConfigurationError(f"{place}: no certificates can be read there ({type(error).__name__})") from error


def inspect_authorities(path: Path | None) -> None:
    """Return if a file of authorities can be used. Raises ValueError with a reason."""
    if path is None:
        return
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise ValueError("the file holds no certificate in PEM form") from None
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None


def present_certificate(context: ssl.SSLContext, cert_file: Path, key_file: Path | None, password: str = "") -> None:
    """Use this certificate and key; without `key_file`, the first file holds both. Raises ValueError with a reason."""
    try:
        # Without a password, even an empty one, OpenSSL asks for it at the terminal.
        context.load_cert_chain(cert_file, key_file, password=password)
    except ssl.SSLError as error:
        raise ValueError(_certificate_problem(error)) from None
    except OSError as error:
        raise ValueError(f"the certificate or its key cannot be read: {error.strerror}") from None


def _certificate_problem(error: ssl.SSLError) -> str:
    words = f"{error.reason} {error}"
    if "KEY_VALUES_MISMATCH" in words:
        return "the key is not that of the certificate"
    if "BAD_DECRYPT" in words or "BAD_PASSWORD_READ" in words or "EMPTY_PASSWORD" in words:
        return "the key is encrypted, and its passphrase is not known"
    return "no certificate with its key can be read in PEM form"


def tls_problems(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with the TLS settings of each server among each other. Absent values are skipped."""
    problems = []
    for prefix, switch, is_on in _SERVERS:
        names = {part: f"{prefix}_TLS_{part}" for part in ("CA_FILE", "CERT_FILE", "KEY_FILE", "VERIFY")}
        if switch not in values or not names.keys() <= {part for part, name in names.items() if name in values}:
            continue
        ca_file, cert_file, key_file, verify = (values[name] for name in names.values())
        used = [name for name in names.values() if values[name] not in (None, True)]
        if used and values[switch] != is_on:
            value = "https" if is_on == "https" else "true"
            have = "has" if len(used) == 1 else "have"
            problems.append(f"{' and '.join(used)} {have} no effect without TLS: set {switch}={value}, or leave it out")
        if key_file is not None and cert_file is None:
            problems.append(f"{names['KEY_FILE']} is set without {names['CERT_FILE']}: set both, or neither")
        if ca_file is not None and not verify:
            problems.append(f"{names['CA_FILE']} has no effect with {names['VERIFY']}=false: leave one of them out")
        if cert_file is not None:
            try:
                present_certificate(ssl.create_default_context(), cert_file, key_file)
            except ValueError as error:
                both = names["CERT_FILE"] if key_file is None else f"{names['CERT_FILE']} and {names['KEY_FILE']}"
                problems.append(f"{both} cannot be used: {error}")
    return problems


_SERVERS: tuple[tuple[str, str, object], ...] = (
    ("TYPESENSE", "TYPESENSE_PROTOCOL", "https"),
    ("PRIMARY_REDIS", "PRIMARY_REDIS_TLS", True),
    ("BACKUP_REDIS", "BACKUP_REDIS_TLS", True),
)
"""The beginning of a server's TLS settings, and the setting with the value that switches TLS on."""
