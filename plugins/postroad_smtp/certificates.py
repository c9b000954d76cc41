"""Reads the PEM files that the settings name into a TLS context.

What cannot be used is a ConfigError, with the setting, the path and what is wrong with the file.  Nobody is ever
asked for a pass phrase.
"""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import NamedTuple

from postroad.errors import ConfigError

__all__ = ["Certificates", "show", "verifying"]

_CERTIFICATE = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")  # openssl-x509(1)
_KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )?PRIVATE KEY-----")
_ENCRYPTED = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED", re.MULTILINE)
_MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH")


class Certificates(NamedTuple):
    """PEM files.  ca_file: the authorities to trust instead of the system's.  cert_file, key_file: our own."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


def verifying(ca_file: str) -> ssl.SSLContext:
    """A context that trusts the authorities of this file, or the system's.  Raises ConfigError."""
    if ca_file:
        _expect_certificate("ca_file", ca_file)
    try:
        return ssl.create_default_context(cafile=ca_file or None)  # with a file, the system's are not loaded
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("ca_file", _unusable(ca_file, error)) from None


def show(context: ssl.SSLContext, certificates: Certificates) -> None:
    """Have the context show our own certificate.  Raises ConfigError."""
    cert_file, key_file = certificates.cert_file, certificates.key_file or certificates.cert_file
    key = "client_key_file" if certificates.key_file else "client_cert_file"
    _expect_certificate("client_cert_file", cert_file)
    _expect_key(key, key_file)
    try:
        context.load_cert_chain(cert_file, key_file, password=lambda: b"")  # else it asks on the terminal
    except (OSError, ssl.SSLError, ValueError) as error:
        if getattr(error, "reason", None) in _MISMATCHES:
            problem = f"{key_file} is the key of another certificate than that in client_cert_file, {cert_file}"
            raise ConfigError(key, problem) from None
        raise _of_pair(certificates, error) from None


def _of_pair(certificates: Certificates, error: Exception) -> ConfigError:
    """Which of the two is broken: a context that has read the certificate alone complains of no key, or of the certificate."""
    try:
        ssl.create_default_context(cafile=certificates.cert_file)
    except (OSError, ssl.SSLError) as broken:
        return ConfigError("client_cert_file", _unusable(certificates.cert_file, broken))
    key = "client_key_file" if certificates.key_file else "client_cert_file"
    return ConfigError(key, _unusable(certificates.key_file or certificates.cert_file, error))


def _expect_certificate(key: str, file: str) -> None:
    if not _CERTIFICATE.search(_read(key, file)):
        raise ConfigError(key, f"{file} has no certificate in it; it must be in PEM, -----BEGIN CERTIFICATE-----")


def _expect_key(key: str, file: str) -> None:
    text = _read(key, file)
    if _ENCRYPTED.search(text):
        raise ConfigError(
            key, f"the key in {file} is encrypted; store it without a pass phrase: nobody is there to type it"
        )
    if not _KEY.search(text):
        raise ConfigError(key, f"{file} has no key in it; it must be in PEM, -----BEGIN PRIVATE KEY-----")


def _read(key: str, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(key, f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _unusable(file: str, error: Exception) -> str:
    return f"{file or 'the authorities of this system'} cannot be used: {error}"
