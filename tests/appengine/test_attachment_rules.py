"""The service's rules for attachments: names, and what is within archives, however deep, large or damaged they are."""

from __future__ import annotations

import io
import zipfile

import pytest

from postroad.appengine.apiproxy_errors import ApplicationError
from postroad.appengine.attachment_rules import check_attachments
from postroad.appengine.attachment_types import EXTENSION_BLACKLIST
from postroad.appengine.protocol import MailAttachment, MailServiceError


def archive(*entries, compression=zipfile.ZIP_DEFLATED):
    """A ZIP archive of (name, octets)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as written:
        for name, data in entries:
            written.writestr(name, data)
    return file.getvalue()


def nested(levels, innermost=("a.txt", b"x")):
    data = archive(innermost)
    for _ in range(levels - 1):
        data = archive(("inner.zip", data))
    return data


CUT = archive(("a.txt", b"x"))[:-30]


def check(name, data=b""):
    check_attachments([MailAttachment(FileName="first.txt", Data=b""), MailAttachment(FileName=name, Data=data)])


def refused(name, data=b""):
    with pytest.raises(ApplicationError) as caught:
        check(name, data)
    assert caught.value.application_error == MailServiceError.INVALID_ATTACHMENT_TYPE
    assert caught.value.error_detail.startswith("Invalid attachment type; ")
    return caught.value.error_detail.removeprefix("Invalid attachment type; ")


@pytest.mark.parametrize("name", ["a.pdf", "a.b.PDF", "folder/a.txt", "Ünïcode.txt", "a.unknown", "exe.txt"])
def test_what_has_an_ordinary_name_is_carried(name):
    check(name, b"\0\xff")


@pytest.mark.parametrize("name", [".htaccess", ".bat", "folder/.profile", "folder\\.profile"])
def test_hidden_files_are_refused(name):
    assert refused(name) == f"attachments cannot be hidden files. Received '{name}'."


def test_a_name_without_an_extension_is_refused():
    assert refused("README") == "attachments must have a file extension, Received 'README'."


@pytest.mark.parametrize("name", [*(f"a.{extension}" for extension in EXTENSION_BLACKLIST), "a.EXE", "a.txt.exe"])
def test_blacklisted_extensions_are_refused(name):
    assert refused(name) == (
        f"attachments must not have a file extension that is blacklisted. Received '{name}'. The extension type must be one of "
        f"{','.join(EXTENSION_BLACKLIST)}."
    )


@pytest.mark.parametrize("name", ["a.exe.", "a.exe ", "a.exe\0", "a.exe. . "])
def test_what_windows_leaves_away_hides_no_extension(name):
    assert "blacklisted" in refused(name)


# --- archives ---


def test_an_archive_of_ordinary_files_is_carried():
    check(
        "a.zip",
        archive(("README", b""), (".hidden", b""), ("folder/", b""), ("folder/a.txt", b"x"), ("folder.exe/", b"")),
    )
    check("a.zip", archive())
    check("a.zip", nested(4))


@pytest.mark.parametrize("name", ["a.zip", "a.ZIP", "a.docx", "a.bin"])
def test_a_blacklisted_file_within_an_archive_is_refused_whatever_the_archive_is_called(name):
    assert f"Received '{name}/folder/b.exe'" in refused(name, archive(("a.txt", b""), ("folder/b.exe", b"")))


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_a_blacklisted_file_deep_within_is_refused(levels):
    inner = "/inner.zip" * (levels - 1)
    assert f"Received 'a.zip{inner}/b.com'" in refused("a.zip", nested(levels, ("b.com", b"")))


def test_archives_within_too_many_others_are_refused():
    assert "is an archive within more than 3 others" in refused("a.zip", nested(5))


@pytest.mark.parametrize(
    "data", [b"", b"no archive", CUT, b"PK\x03\x04 and no more"], ids=["empty", "none", "cut", "begun"]
)
def test_a_damaged_archive_is_refused(data):
    assert "cannot be read" in refused("a.zip", data)
    assert "cannot be read" in refused("a.zip", archive(("b.zip", data)))


def test_what_only_begins_as_an_archive_is_carried_under_another_name():
    check("a.docx", b"PK\x03\x04 and no more")


def test_a_bomb_is_refused_before_it_fills_the_memory():
    bomb = archive(("b.zip", b"\0" * (65 << 20)))
    assert len(bomb) < 100_000
    assert "more than 64 MB unpacked" in refused("a.zip", bomb)
    several = archive(*((f"{number}.zip", archive(("a.txt", b"")) + b"\0" * (20 << 20)) for number in range(4)))
    assert "64 MB" in refused("a.zip", several) or "cannot be read" in refused("a.zip", several)


def test_a_bomb_that_is_no_archive_is_not_unpacked():
    check("a.zip", archive(("zeros.txt", b"\0" * (65 << 20))))


def test_an_archive_of_very_many_files_is_refused():
    assert "more than 10,000 files" in refused("a.zip", archive(*((f"{number}.txt", b"") for number in range(10_001))))


def test_files_are_counted_through_all_archives_of_an_attachment():
    inner = archive(*((f"{number}.txt", b"") for number in range(3_000)))
    assert "more than 10,000 files" in refused("a.zip", archive(*((f"{number}.zip", inner) for number in range(4))))
    check("a.zip", archive(*((f"{number}.zip", inner) for number in range(3))))


def encrypted(data):
    """The archive with the flag of encryption set in every entry, which is all that is looked at."""
    changed = bytearray(data)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = changed.find(mark)
        while at >= 0:
            changed[at + offset] |= 1
            at = changed.find(mark, at + 1)
    return bytes(changed)


def test_an_encrypted_archive_is_carried_by_the_names_it_shows():
    check("a.zip", encrypted(archive(("secret.txt", b"x"))))
    assert "a.zip/b.exe" in refused("a.zip", encrypted(archive(("b.exe", b"x"))))


def test_an_archive_encrypted_within_another_is_refused():
    data = encrypted(archive(("b.zip", b"x"), compression=zipfile.ZIP_STORED))
    assert "is an archive that is encrypted within another" in refused("a.zip", data)


def test_an_archive_that_hides_its_names_is_refused():
    data = bytearray(archive(("a.txt", b"x")))
    data[data.find(b"PK\x01\x02") + 9] |= 0x20
    assert "hides the names" in refused("a.zip", bytes(data))


def test_an_archive_stored_within_another_is_looked_through_too():
    inner = archive(("b.exe", b""), compression=zipfile.ZIP_LZMA)
    assert "b.zip/b.exe" in refused("a.zip", archive(("b.zip", inner), compression=zipfile.ZIP_STORED))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_could_not_be_unpacked_bit_by_bit_is_refused(compression):
    inner = archive(("a.txt", b""))
    assert "compressed in an unusual way" in refused("a.zip", archive(("b.zip", inner), compression=compression))


def test_an_unknown_compression_within_is_refused():
    data = bytearray(archive(("b.zip", archive(("a.txt", b"")))))
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.find(mark) + offset] = 98
    assert "compressed in an unusual way" in refused("a.zip", bytes(data))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("outer", ["a.zip", "a.docx"])
@pytest.mark.parametrize("inner", ["report.docx", "data.bin", "noextension"])
def test_an_archive_within_another_is_one_whatever_it_is_called(inner, outer, compression):
    hidden = archive((inner, archive(("run.exe", b"x"))), compression=compression)
    assert "blacklisted" in refused(outer, hidden)
    check(outer, archive((inner, archive(("run.txt", b"x"))), compression=compression))


def test_what_only_begins_as_an_archive_within_another_is_carried_and_stops_no_check():
    check("a.zip", archive(("a.bin", CUT), ("b.bin", b"PK\3\4 is how they begin, and this is none")))
    assert "blacklisted" in refused("a.docx", archive(("a.bin", CUT), ("run.exe", b"x")))


@pytest.mark.parametrize("outer", ["a.zip", "a.docx"])
def test_an_archive_within_another_that_cannot_be_unpacked_is_refused(outer):
    """Before what is behind it would be passed over."""
    whole = bytearray(archive(("inner.zip", nested(1)), ("run.txt", b"x"), compression=zipfile.ZIP_STORED))
    whole[whole.index(b"PK\3\4", 4) + 2] ^= 0xFF  # its checksum does not fit any more
    assert "cannot be read" in refused(outer, bytes(whole))
