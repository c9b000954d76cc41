"""Which attachments are carried, and as what: the contract's two tables."""

from __future__ import annotations

import pytest

from postroad.appengine import mail
from postroad.appengine.attachment_types import mime_type_of

BLACK = (
    "ade adp bat chm cmd com cpl exe hta ins isp jse lib mde msc msp mst pif scr sct shb sys vb vbe vbs vxd wsc wsf wsh"
)
SOME_TYPES = {
    "application/msword": "doc docx",
    "application/vnd.ms-powerpoint": "pps ppt pptx",
    "image/jpeg": "jpe jpeg jpg",
    "text/plain": "asc c diff log patch pot text txt",
    "text/rss+xml": "rss",
    "text/csv": "csv",
    "text/directory": "vcf",
    "application/x-gzip": "gzip",
    "video/x-msvideo": "avi",
}


def test_the_tables_are_the_contracts() -> None:
    assert BLACK.split() == mail.EXTENSION_BLACKLIST
    assert len(mail.EXTENSION_BLACKLIST) == 29
    assert len(mail.EXTENSION_MIME_MAP) == 64
    for mime_type, extensions in SOME_TYPES.items():
        of_type = sorted(extension for extension, its in mail.EXTENSION_MIME_MAP.items() if its == mime_type)
        assert " ".join(of_type) == extensions


@pytest.mark.parametrize("extension", BLACK.split())
def test_what_is_black_listed_is_refused_in_any_case(extension: str) -> None:
    for name in (f"a.{extension}", f".{extension}", f"a.txt.{extension.upper()}", f"d.d/a.{extension.title()}"):
        with pytest.raises(mail.InvalidAttachmentTypeError) as raised:
            mime_type_of(name)
        assert str(raised.value) == f"Extension {extension} is not supported."


@pytest.mark.parametrize(
    ("name", "mime_type"),
    [
        ("a.TXT", "text/plain"),
        (".txt", "text/plain"),
        ("exe", "application/octet-stream"),
        ("a.exe.", "application/octet-stream"),
        ("a.unknown", "application/octet-stream"),
        ("", "application/octet-stream"),
        ("a.exe.zip", "application/zip"),
    ],
)
def test_the_type_follows_the_last_extension(name: str, mime_type: str) -> None:
    assert mime_type_of(name) == mime_type
