"""Signatures by public keys: SendGrid's and Amazon's.  Pure; imports `cryptography`, of the extra `events`.  Imported late."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.x509 import load_pem_x509_certificate

__all__ = ["is_signed_by_certificate", "is_signed_by_ec"]


def is_signed_by_ec(key: str, signature: bytes, signed: bytes) -> bool:
    """key: base64 of DER, on P-256.  False, too, where the key is none."""
    try:
        public = load_der_public_key(base64.b64decode(key, validate=True))
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            return False
        public.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, binascii.Error, ValueError):
        return False
    return True


def is_signed_by_certificate(pem: bytes, signature: bytes, signed: bytes, *, is_sha1: bool, now: float) -> bool:
    """By RSA, PKCS #1 v1.5, and valid at `now`.  False, too, where the certificate is none."""
    try:
        certificate = load_pem_x509_certificate(pem)
        moment = datetime.fromtimestamp(now, UTC)
        if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
            return False
        public = certificate.public_key()
        if not isinstance(public, rsa.RSAPublicKey):
            return False
        kind = hashes.SHA1() if is_sha1 else hashes.SHA256()  # noqa: S303  # version 1 of SNS's signatures
        public.verify(signature, signed, padding.PKCS1v15(), kind)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True
