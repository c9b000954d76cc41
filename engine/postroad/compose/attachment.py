"""Attachments: file name, content and type -> a MIME part.

Content arrives byte for byte (base64); an attached message is made 7-bit clean instead, because message/rfc822 may not
be in base64 (RFC 2046 section 5.2.1).  The type comes from the file name where none is given, never from the system's tables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from ..encoded import write_parameter
from ..errors import SubmissionError
from .downgrade import embed_message
from .fields import LINE_OCTETS, check_text, fold_chunks
from .mime import Part, encode_base64, has_short_lines, wire_lines

__all__ = ["Attachment", "AttachmentLike", "attachment_part", "guess_type", "read_attachments"]


class Attachment(msgspec.Struct, frozen=True):
    """A file to attach.

    filename: what the reader sees; empty only for inline content.
    content: octets, or text that is sent as UTF-8.
    content_type: such as "image/png" or "text/csv; charset=iso-8859-1"; None: by the file name's extension.
    content_id: the id that the HTML refers to by `cid:`; with or without angle brackets.
    inline: shown within the message rather than listed; an attachment with a content_id is inline where there is HTML.
    """

    filename: str
    content: bytes | str
    content_type: str | None = None
    content_id: str | None = None
    inline: bool = False


AttachmentLike = Attachment | tuple[str, bytes | str] | tuple[str, bytes | str, str | None]


def read_attachments(items: Sequence[AttachmentLike]) -> list[Attachment]:
    """Attachments from what the caller gave: Attachment, (name, content) or (name, content, type)."""
    return [_read(item, f"attachments[{number}]") for number, item in enumerate(items)]


def _read(item: AttachmentLike, field: str) -> Attachment:
    if isinstance(item, Attachment):
        return item
    if not isinstance(item, (tuple, list)) or len(item) not in (2, 3):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SubmissionError(field, 'give an Attachment, ("a.pdf", content) or ("a.pdf", content, "application/pdf")')
    return Attachment(item[0], item[1], item[2] if len(item) == 3 else None)


_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*")
_TYPE_PARAMETERS = re.compile(r'(?:[ \t]*;[ \t]*[A-Za-z0-9!#$&^_.+-]+=(?:[A-Za-z0-9!#$&^_.+-]+|"[ !#-\[\]-~]*"))*')


def attachment_part(attachment: Attachment, field: str, *, as_inline: bool) -> Part:
    """The MIME part of one attachment; `field` names it in errors ("attachments[2]")."""
    filename = check_text(attachment.filename, f"{field}.filename")
    if not filename and not (attachment.inline or attachment.content_id):
        raise SubmissionError(f"{field}.filename", "the file name is empty; give the attachment a name")
    if len(filename) > LINE_OCTETS:
        raise SubmissionError(f"{field}.filename", f"the file name is longer than {LINE_OCTETS} characters")
    octets = _octets(attachment.content, f"{field}.content")
    content_type = _content_type(attachment, octets, f"{field}.content_type")
    fields = _fields(attachment, field, as_inline=as_inline)
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("message/"):
        embedded = _embedded(octets, kind, content_type, attachment.content_type is not None, f"{field}.content")
        if embedded is not None:
            return msgspec.structs.replace(embedded, fields=embedded.fields + fields)
        content_type = "application/octet-stream"
    fields = fold_chunks("Content-Type", _words(content_type)) + "Content-Transfer-Encoding: base64\r\n" + fields
    return Part(fields=fields, chunks=(encode_base64(octets),))


def _octets(content: bytes | str, field: str) -> bytes:
    if isinstance(content, str):
        try:
            return content.encode("utf-8")
        except UnicodeEncodeError:
            raise SubmissionError(field, "it holds a lone surrogate; give bytes, or decode the text properly") from None
    if isinstance(content, (bytes, bytearray, memoryview)):  # pyright: ignore[reportUnnecessaryIsInstance]
        return bytes(content)
    raise SubmissionError(field, f"must be bytes or str, not {type(content).__name__}")


def _words(content_type: str) -> list[str]:
    """Chunks to fold between: the type and each parameter."""
    return re.findall(r'(?:[^ \t;"]|"[^"]*")+;?', re.sub(r"[ \t]*;", ";", content_type))


def _content_type(attachment: Attachment, octets: bytes, field: str) -> str:
    given = attachment.content_type
    if given is None:
        given = guess_type(attachment.filename)
        if given.startswith("text/") and (isinstance(attachment.content, str) or _is_utf8(octets)):
            given += "; charset=utf-8"
        return given
    check_text(given, field)
    kind = _TYPE.match(given)
    if kind is None or not _TYPE_PARAMETERS.fullmatch(given, kind.end()) or len(given) > 900:
        raise SubmissionError(
            field, f"{given[:80]!r} is not a content type; write type/subtype, such as application/pdf"
        )
    if given.lower().startswith("multipart/"):
        raise SubmissionError(field, "a multipart cannot be attached; attach it as message/rfc822")
    if isinstance(attachment.content, str) and kind[0].lower().startswith("text/") and kind.end() == len(given):
        given += "; charset=utf-8"
    return given


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _fields(attachment: Attachment, field: str, *, as_inline: bool) -> str:
    disposition = "inline" if as_inline or attachment.inline else "attachment"
    chunks = [disposition]
    if attachment.filename:
        chunks += write_parameter("filename", attachment.filename)
    fields = fold_chunks("Content-Disposition", [*(f"{chunk};" for chunk in chunks[:-1]), chunks[-1]])
    if attachment.content_id is not None:
        fields += f"Content-ID: <{_content_id(attachment.content_id, f'{field}.content_id')}>\r\n"
    return fields


def _content_id(value: str, field: str) -> str:
    """Without its angle brackets.  RFC 2392 wants an @, but readers and App Engine's users do without."""
    check_text(value, field)
    bare = value[1:-1] if value[:1] == "<" and value[-1:] == ">" else value
    if not re.fullmatch(r"[!-;=?-~]{1,900}", bare):
        raise SubmissionError(
            field, f"{value[:80]!r} is not an id; write printable ASCII without spaces: logo@example.com"
        )
    return bare


def _embedded(octets: bytes, kind: str, content_type: str, was_given: bool, field: str) -> Part | None:
    """The part of an attached message; None where it is none and only the file name said so."""
    utf8 = False
    try:
        if kind in ("message/rfc822", "message/global", "message/news"):
            octets, utf8 = embed_message(octets, field)
        else:
            octets = _plain_lines(octets, kind, field)
    except SubmissionError:
        if was_given:
            raise
        return None
    eight_bit = not octets.isascii()
    fields = fold_chunks("Content-Type", _words(content_type))
    fields += f"Content-Transfer-Encoding: {'8bit' if eight_bit else '7bit'}\r\n"
    return Part(fields=fields, chunks=(octets,), verbatim=True, eight_bit=eight_bit, utf8=utf8)


def _plain_lines(octets: bytes, kind: str, field: str) -> bytes:
    octets = wire_lines(octets)
    if not octets.isascii() or b"\0" in octets or not has_short_lines(octets):
        raise SubmissionError(
            field, f"{kind} takes ASCII with lines up to {LINE_OCTETS} octets; attach it as application/octet-stream"
        )
    return octets


_TYPES = {
    extension: kind
    for kind, extensions in {
        "application/epub+zip": "epub",
        "application/gzip": "gz tgz",
        "application/json": "json map",
        "application/msword": "doc dot",
        "application/pdf": "pdf",
        "application/pgp-signature": "sig",
        "application/postscript": "ps eps ai",
        "application/rtf": "rtf",
        "application/vnd.ms-excel": "xls",
        "application/vnd.ms-powerpoint": "ppt pps",
        "application/vnd.oasis.opendocument.presentation": "odp",
        "application/vnd.oasis.opendocument.spreadsheet": "ods",
        "application/vnd.oasis.opendocument.text": "odt",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
        "application/x-7z-compressed": "7z",
        "application/x-tar": "tar",
        "application/xml": "xml",
        "application/zip": "zip",
        "audio/flac": "flac",
        "audio/midi": "mid midi",
        "audio/mp4": "m4a",
        "audio/mpeg": "mp3",
        "audio/ogg": "ogg oga opus",
        "audio/x-wav": "wav",
        "font/otf": "otf",
        "font/ttf": "ttf",
        "font/woff2": "woff2",
        "image/avif": "avif",
        "image/bmp": "bmp",
        "image/gif": "gif",
        "image/heic": "heic",
        "image/jpeg": "jpg jpeg jpe",
        "image/png": "png",
        "image/svg+xml": "svg",
        "image/tiff": "tif tiff",
        "image/webp": "webp",
        "image/x-icon": "ico",
        "message/rfc822": "eml",
        "text/calendar": "ics",
        "text/css": "css",
        "text/csv": "csv",
        "text/html": "html htm",
        "text/javascript": "js mjs",
        "text/markdown": "md",
        "text/plain": "txt text log asc pot diff",
        "text/tab-separated-values": "tsv",
        "text/vcard": "vcf",
        "text/x-python": "py",
        "video/mp4": "mp4 m4v",
        "video/mpeg": "mpg mpeg mpe",
        "video/quicktime": "mov qt",
        "video/webm": "webm",
        "video/x-msvideo": "avi",
    }.items()
    for extension in extensions.split()
}


def guess_type(filename: str) -> str:
    """The type by the extension; application/octet-stream where it is not known."""
    return _TYPES.get(filename.rpartition(".")[2].lower(), "application/octet-stream")
