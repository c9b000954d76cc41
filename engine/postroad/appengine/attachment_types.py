"""Which attachments are carried, and as what: by the extension of their names.

Both tables are the contract's.
"""

from __future__ import annotations

from .mail_errors import InvalidAttachmentTypeError

__all__ = ["EXTENSION_BLACKLIST", "EXTENSION_MIME_MAP", "extension_of", "mime_type_of"]

EXTENSION_BLACKLIST = [
    *("ade", "adp", "bat", "chm", "cmd", "com", "cpl", "exe", "hta", "ins", "isp", "jse", "lib", "mde", "msc"),
    *("msp", "mst", "pif", "scr", "sct", "shb", "sys", "vb", "vbe", "vbs", "vxd", "wsc", "wsf", "wsh"),
]

_EXTENSIONS_BY_TYPE = {
    "application/msword": "doc docx",
    "application/pdf": "pdf",
    "application/vnd.google-earth.kml+xml": "kml",
    "application/vnd.google-earth.kmz": "kmz",
    "application/vnd.ms-excel": "xls xlsx",
    "application/vnd.ms-powerpoint": "pps ppt pptx",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.sun.xml.calc": "sxc",
    "application/vnd.sun.xml.writer": "sxw",
    "application/x-gzip": "gzip",
    "application/zip": "zip",
    "audio/basic": "au snd",
    "audio/flac": "flac",
    "audio/mid": "mid rmi",
    "audio/mp4": "m4a",
    "audio/mpeg": "mp3",
    "audio/ogg": "oga ogg",
    "audio/x-aiff": "aif aifc aiff",
    "audio/x-wav": "wav",
    "image/gif": "gif",
    "image/jpeg": "jpe jpeg jpg",
    "image/png": "png",
    "image/tiff": "tif tiff",
    "image/vnd.wap.wbmp": "wbmp",
    "image/webp": "webp",
    "image/x-ms-bmp": "bmp",
    "text/calendar": "ics",
    "text/css": "css",
    "text/csv": "csv",
    "text/directory": "vcf",
    "text/html": "htm html",
    "text/plain": "asc c diff log patch pot text txt",
    "text/rss+xml": "rss",
    "video/mp4": "mp4",
    "video/mpeg": "mpe mpeg mpg",
    "video/ogg": "ogv",
    "video/quicktime": "mov qt",
    "video/webm": "webm",
    "video/x-msvideo": "avi",
}
EXTENSION_MIME_MAP = {
    extension: mime_type for mime_type, extensions in _EXTENSIONS_BY_TYPE.items() for extension in extensions.split()
}
ANYTHING = "application/octet-stream"


def extension_of(file_name: str) -> str:
    """What follows the last dot of a name, in lower case; empty without a dot."""
    place = file_name.rfind(".")
    return "" if place < 0 else file_name[place + 1 :].lower()


def mime_type_of(file_name: str) -> str:
    """The MIME type of a file by its name, application/octet-stream if unknown.

    InvalidAttachmentTypeError if it is not carried.
    """
    extension = extension_of(file_name)
    if extension in EXTENSION_BLACKLIST:
        raise InvalidAttachmentTypeError(f"Extension {extension} is not supported.")
    return EXTENSION_MIME_MAP.get(extension, ANYTHING)
