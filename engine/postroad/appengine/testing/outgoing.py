"""What the stub really sends, where an application's tests gave it a server or sendmail: as the original, at once and once.

Never used unless `host` or `enable_sendmail` is given.  For anything but a look at a mail, run an engine.
"""

from __future__ import annotations

import base64
import logging
import subprocess
from typing import Any

__all__ = ["attachments_encoded", "send_by_sendmail", "send_by_smtp"]

_RECIPIENTS = ("To", "Cc", "Bcc")


def attachments_encoded(mime: Any) -> Any:
    """The message, with those of its attachments that are no text encoded in base64."""
    for part in mime.get_payload():
        is_raw = part.get_content_maintype() not in ("multipart", "text") and "Content-Transfer-Encoding" not in part
        if is_raw:
            payload = part.get_payload()
            octets = payload.encode("utf-8", "surrogateescape") if isinstance(payload, str) else payload
            part.set_payload(base64.b64encode(octets).decode("ascii"))
            part["Content-Transfer-Encoding"] = "base64"
    return mime


def send_by_smtp(
    mime: Any, host: str | None, port: int, user: str, password: str, allow_tls: bool, *, smtp_lib: Any
) -> None:
    """Hand a message to a server.  Raises what smtplib raises."""
    smtp = smtp_lib()
    try:
        smtp.connect(host, port)
        smtp.ehlo_or_helo_if_needed()
        if allow_tls and smtp.has_extn("STARTTLS"):
            smtp.starttls()
            smtp.ehlo()
        if user:
            smtp.login(user, password)
        recipients = [mime[name] for name in _RECIPIENTS if mime[name]]
        smtp.sendmail(mime["From"], recipients, mime.as_string())
    finally:
        smtp.quit()


def send_by_sendmail(mime: Any, popen: Any, command: str) -> None:
    """Pipe a message into sendmail.  A failure is logged, and nothing else, as in the original."""
    addresses = [each.strip() for name in _RECIPIENTS if mime[name] for each in str(mime[name]).split(",")]
    quoted = " ".join("'" + address.replace("'", "'\\''") + "'" for address in addresses)
    pipe = subprocess.PIPE
    try:
        child = popen(f"{command} {quoted}", shell=True, stdin=pipe, stdout=pipe)  # noqa: S604  # the contract; quoted above
        try:
            child.stdin.write(mime.as_string().encode("utf-8"))
            child.stdin.close()
        finally:
            while child.poll() is None:
                child.stdout.read(100)
            child.stdout.close()
    except OSError as error:
        logging.error("Error sending mail using sendmail: %s", error)
