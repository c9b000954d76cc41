"""The service's rules for attachments: which names are refused, and which files within ZIP archives.

Nothing is unpacked but archives within archives, and of those at most 64 MB in all, four levels deep.  What cannot be looked
into (damaged, too deep, too large, encrypted below the surface) is refused: nobody could say what it holds.
Knows nothing of messages; `service.py` asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..forking import no_fork
from .apiproxy_errors import ApplicationError
from .attachment_types import EXTENSION_BLACKLIST, extension_of
from .protocol import MailServiceError

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

__all__ = ["check_attachments"]

_LEVELS = 4  # of archives within each other, the attachment itself the first
_UNPACKED_OCTETS = 64 << 20  # of archives within one attachment, in all: twice the largest request
_FILES = 10_000  # in one attachment, archives within it included; reading so many names takes some 50 ms
_ENTRY = b"PK\x01\x02"  # before each file's entry in an archive's directory (APPNOTE.TXT section 4.3.12)
_BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06")  # of an archive, and of an empty one
_LEAST_OCTETS = 22  # of an archive: one without files (section 4.3.16)
_BOUNDED = (0, 8)  # stored and deflated (section 4.4.5); Python's readers of others unpack a whole bomb at once
_IS_ENCRYPTED, _IS_MASKED = 0x1, 0x2000  # an entry's flags (section 4.4.4): its content, and its name
_UNSEEN_END = re.compile(r"[. \0]+\Z")  # Windows leaves dots and spaces at the end of a name away


def check_attachments(attachments: Iterable[Any]) -> None:
    """Raise ApplicationError (INVALID_ATTACHMENT_TYPE) for the first attachment, or file within one, that is not carried.

    attachments: with FileName and Data, as in a request.
    """
    for attachment in attachments:
        name, data = attachment.FileName, attachment.Data
        _check_name(name)
        if _is_declared(name) or data.startswith(_BEGINNINGS):
            _Attachment(name).check(data, name, 1)


def _refuse(problem: str) -> ApplicationError:
    return ApplicationError(MailServiceError.INVALID_ATTACHMENT_TYPE, f"Invalid attachment type; {problem}")


def _check_name(name: str) -> None:
    if re.split(r"[/\\]", name)[-1].startswith("."):
        raise _refuse(f"attachments cannot be hidden files. Received '{name}'.")
    if "." not in name:
        raise _refuse(f"attachments must have a file extension, Received '{name}'.")
    _check_extension(name, name)


def _check_extension(name: str, shown: str) -> None:
    if extension_of(_UNSEEN_END.sub("", name)) in EXTENSION_BLACKLIST:
        raise _refuse(
            f"attachments must not have a file extension that is blacklisted. Received '{shown}'. "
            f"The extension type must be one of {','.join(EXTENSION_BLACKLIST)}."
        )


def _is_declared(name: str) -> bool:
    """Whether it is an archive by its name.  Others, such as office documents, may be damaged."""
    return extension_of(_UNSEEN_END.sub("", name)) == "zip"


def _begins_as_archive(archive: ZipFile, entry: ZipInfo) -> bool:
    """Whether a file is an archive by its content, where that can be seen within bounds."""
    if entry.flag_bits & _IS_ENCRYPTED or entry.compress_type not in _BOUNDED or entry.file_size < _LEAST_OCTETS:
        return False
    try:
        with archive.open(entry) as file:
            return file.read(len(_BEGINNINGS[0])) in _BEGINNINGS
    except Exception:  # nobody else could unpack it either
        return False


class _Attachment:
    """One attachment that is an archive, with all that is within."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._octets_left = _UNPACKED_OCTETS
        self._files_left = _FILES

    def check(self, data: bytes, path: str, level: int) -> None:
        with no_fork:
            from io import BytesIO
            from zipfile import ZipFile
        if data.count(_ENTRY) > self._files_left:
            raise _refuse(f"'{self._name}' holds more than {_FILES:,} files, which is more than is looked through.")
        try:
            with ZipFile(BytesIO(data)) as archive:
                self._files_left -= len(archive.infolist())
                for entry in archive.infolist():
                    self._check_entry(archive, entry, path, level)
        except ApplicationError:
            raise
        except Exception as error:  # the reader of archives names no few of its own, and any means the same
            if _is_declared(path):
                raise _refuse(f"the archive '{path}' cannot be read: {error}.") from error

    def _check_entry(self, archive: ZipFile, entry: ZipInfo, path: str, level: int) -> None:
        name = f"{path}/{entry.filename}"
        if entry.flag_bits & _IS_MASKED:
            raise _refuse(f"the archive '{path}' hides the names of its files.")
        if entry.is_dir():
            return
        _check_extension(entry.filename, name)
        if _is_declared(entry.filename) or _begins_as_archive(archive, entry):
            self._check_within(archive, entry, name, level + 1)

    def _check_within(self, archive: ZipFile, entry: ZipInfo, name: str, level: int) -> None:
        if level > _LEVELS:
            raise _refuse(f"'{name}' is an archive within more than {_LEVELS - 1} others.")
        if entry.flag_bits & _IS_ENCRYPTED:
            raise _refuse(f"'{name}' is an archive that is encrypted within another.")
        if entry.compress_type not in _BOUNDED:
            raise _refuse(f"'{name}' is an archive that is compressed in an unusual way within another.")
        try:
            with archive.open(entry) as file:
                data = file.read(self._octets_left + 1)
        except Exception as error:  # as in `check`; whatever the archive around it is
            raise _refuse(f"the archive '{name}' cannot be read: {error}.") from error
        self._octets_left -= len(data)
        if self._octets_left < 0:
            raise _refuse(f"the archives within '{self._name}' have more than {_UNPACKED_OCTETS >> 20} MB unpacked.")
        self.check(data, name, level)
