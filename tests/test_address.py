"""Addresses: one strict grammar, against email.utils where that is right."""

from __future__ import annotations

import email.utils

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.address import Address, Mailbox, parse_address, parse_mailboxes
from postroad.errors import SubmissionError

ATEXT = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+/=?^_`{|}~-"
dot_atoms = st.lists(st.text(ATEXT, min_size=1, max_size=12), min_size=1, max_size=3).map(".".join)
labels = st.from_regex(r"[a-z]([a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)
addresses = st.builds(lambda local, domain: f"{local}@{domain}", dot_atoms, domains)


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("user@example.com", "user@example.com"),
        ("User+tag@EXAMPLE.com", "User+tag@example.com"),
        ("o'brien/x=y@example.com", "o'brien/x=y@example.com"),
        ("root@localhost", "root@localhost"),
        ("a@r3---sn-x.example", "a@r3---sn-x.example"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("a@BÜCHER.example", "a@xn--bcher-kva.example"),
        ("a@straße.example", "a@xn--strae-oqa.example"),  # non-transitional: never strasse
        ("a@faß。example", "a@xn--fa-hia.example"),
        ("a@xn--bcher-kva.example", "a@xn--bcher-kva.example"),
        ("a@XN--BCHER-KVA.example", "a@xn--bcher-kva.example"),
        ("a@[192.0.2.1]", "a@[192.0.2.1]"),
        ("a@[IPv6:2001:DB8:0::1]", "a@[IPv6:2001:db8::1]"),
        ("a@[ipv6:::1]", "a@[IPv6:::1]"),
        ('"john doe"@example.com', '"john doe"@example.com'),
        ('"john"@example.com', "john@example.com"),
        ('"j\\o\\"hn"@example.com', '"jo\\"hn"@example.com'),
        ('""@example.com', '""@example.com'),
        ('"a@b"@example.com', '"a@b"@example.com'),
        ("user%host@example.com", "user%host@example.com"),
        ("bang!user@example.com", "bang!user@example.com"),
        ("jürgen@bücher.example", "jürgen@xn--bcher-kva.example"),
        ("用户@例子.example", "用户@xn--fsqu00a.example"),
    ],
)
def test_an_address_gets_its_wire_form(text: str, wire: str) -> None:
    address = parse_address(text, "to")
    assert str(address) == wire
    assert parse_address(wire, "to") == address
    assert address.is_ascii == wire.isascii()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("user", "no @"),
        ("@example.com", "before the @"),
        ("user@", "not a domain"),
        ("a b@example.com", "before the @"),
        ("a..b@example.com", "before the @"),
        (".a@example.com", "before the @"),
        ("a.@example.com", "before the @"),
        ("a@b@example.com", "before the @"),
        ('"a@example.com', "before the @"),
        ('"a"b@example.com', "before the @"),
        ("<a@example.com>", "angle brackets"),
        ("a@example.com>", "angle brackets"),
        ("a@exam>ple.com", "not a domain"),
        ("@relay.example:a@example.com", "before the @"),
        ("a@example.com.", "not a domain"),
        ("a@example..com", "not a domain"),
        ("a@-example.com", "not a domain"),
        ("a@example-.com", "not a domain"),
        ("a@exa_mple.com", "not a domain"),
        ("a@192.0.2.1", "[192.0.2.1]"),
        ("a@[192.0.2.256]", "literal"),
        ("a@[192.0.2.1", "literal"),
        ("a@[IPv6:fe80::1%eth0]", "literal"),
        ("a@[x400:foo]", "literal"),
        ("a@xn--a.example", "A-label"),
        ("a@xn--bcher-kva2.example", "A-label"),
        ("a@xn--.example", "not a domain"),
        ("a@😀.example", "international domain"),
        ("a@\u0301b.example", "international domain"),
        ("a" * 65 + "@example.com", "64 are allowed"),
        ("ü" * 33 + "@example.com", "64 are allowed"),
        ("a@" + "b" * 64 + ".example", "63"),
        ("a@" + ".".join(["b" * 60] * 5), "254"),
        ("a@" + "b" * 5000, "254"),
        ("a\u202eb@example.com", "U+202E"),
        ("a\u00a0b@example.com", "U+00A0"),
        ("a\ud800@example.com", "U+D800"),
    ],
)
def test_a_bad_address_is_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(SubmissionError) as caught:
        parse_address(text, "to[3]")
    assert caught.value.field == "to[3]"
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    "where", ["{}a@b.example", "a{}@b.example", "a@b{}.example", "a@b.example{}", '"a{}"@b.example']
)
@pytest.mark.parametrize("bad", ["\r", "\n", "\r\n", "\0", "\t", "\x7f", "\x85", "\u2028", "\u2029"])
def test_no_address_holds_a_control_character(where: str, bad: str) -> None:
    with pytest.raises(SubmissionError, match=r"^recipients: .*U\+"):
        parse_address(where.format(bad), "recipients")


@pytest.mark.parametrize("bad", [b"a@b", None, 7])
def test_an_address_that_is_no_text_is_refused(bad: object) -> None:
    with pytest.raises(SubmissionError, match="str"):
        parse_address(bad, "to")  # type: ignore[arg-type]


@settings(deadline=None)
@given(addresses)
def test_any_plain_address_is_read_as_it_stands(text: str) -> None:
    if len(text) <= 254 and len(text.rpartition("@")[0]) <= 64:
        assert str(parse_address(text, "to")) == text


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_is_accepted_cannot_break_a_command(local: str, domain: str) -> None:
    try:
        address = parse_address(f"{local}@{domain}", "to")
    except SubmissionError:
        return
    wire = str(address)
    assert not set("\r\n\0") & set(wire)
    assert address.domain.isascii()
    assert len(wire.encode()) <= 254
    if "<" in wire or ">" in wire or " " in wire:
        assert wire.startswith('"')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@b.example", [("", "a@b.example")]),
        ("Ann <a@b.example>", [("Ann", "a@b.example")]),
        ("Ann B. Cole <a@b.example>", [("Ann B. Cole", "a@b.example")]),
        ('"Doe, John" <j@example.com>, x@y', [("Doe, John", "j@example.com"), ("", "x@y")]),
        ('"a \\"b\\" c" <j@example.com>', [('a "b" c', "j@example.com")]),
        ("Ann (her desk) <a@b.example> (x)", [("Ann", "a@b.example")]),
        ("(say (nested \\) this)) a@b.example", [("", "a@b.example")]),
        ("<a@b.example>", [("", "a@b.example")]),
        ("Ann<a@b.example>", [("Ann", "a@b.example")]),
        ('"john doe"@example.com, "x"<y@z>', [("", '"john doe"@example.com'), ("x", "y@z")]),
        ('X <"a>b,c"@example.com>', [("X", '"a>b,c"@example.com')]),
        ("a@[IPv6:::1], b@[192.0.2.1]", [("", "a@[IPv6:::1]"), ("", "b@[192.0.2.1]")]),
        ("Jürgen Müller <j@bücher.example>", [("Jürgen Müller", "j@xn--bcher-kva.example")]),
        ("=?utf-8?q?J=C3=BCrgen?= <j@example.com>", [("Jürgen", "j@example.com")]),
        ("=?utf-8?q?J=C3=BC?= =?iso-8859-1?b?cmdlbg==?= M. <j@example.com>", [("Jürgen M.", "j@example.com")]),
        ('"=?utf-8?q?J=C3=BCrgen?=" <j@example.com>', [("=?utf-8?q?J=C3=BCrgen?=", "j@example.com")]),
        ("=?nonsense?q?x?= <j@example.com>", [("=?nonsense?q?x?=", "j@example.com")]),
    ],
)
def test_a_list_of_mailboxes_is_read(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(m.name, str(m.address)) for m in parse_mailboxes(text, "to")] == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a@b, ", "comma"),
        ("a@b,,c@d", "comma"),
        ("Doe, John <j@example.com>", "no @"),
        ("Friends: a@b, c@d;", "group"),
        ("undisclosed-recipients:;", "group"),
        ("a@b; c@d", "group"),
        ("a@b <c@d>", "quotes"),
        ("<a@b> <c@d>", "quotes"),
        ("<a@b> c@d", "angle brackets"),
        ("a@b c@d", "before the @"),
        ('"Ann <a@b>', "cannot read"),
        ("Ann <a@b", "cannot read"),
        ("Ann (x <a@b>", "comment"),
        ("Ann <>", "empty"),
        ("Ann <@r.example:a@b>", "before the @"),
        ("Ann <a @b>", "before the @"),
        ("a@b\nBcc: x@y", "U+000A"),
        ('"a\r\n b" <a@b>', "U+000D"),
        ("=?utf-8?q?x=0ABcc=3A_y?= <a@b>", "U+000A"),
        ("=?utf-8?b?eA0KQmNjOiB5?= <a@b>", "U+000D"),
        ("a@b\u2028", "U+2028"),
    ],
)
def test_a_bad_list_is_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(SubmissionError) as caught:
        parse_mailboxes(text, "cc")
    assert caught.value.field == "cc"
    assert problem in caught.value.problem


def test_several_strings_are_numbered_in_errors() -> None:
    assert parse_mailboxes(["a@b", "Ann <c@d>, e@f"], "to")[2] == Mailbox("", Address("e", "f"))
    with pytest.raises(SubmissionError, match=r"^to\[1\]: "):
        parse_mailboxes(["a@b", "nobody"], "to")
    with pytest.raises(SubmissionError, match=r"^to\[1\]: .*empty"):
        parse_mailboxes(["a@b", ""], "to")


@pytest.mark.parametrize("nothing", ["", "  ", (), []])
def test_nothing_means_no_mailbox(nothing: str | list[str]) -> None:
    assert parse_mailboxes(nothing, "cc") == ()


@pytest.mark.parametrize("bad", [7, None, [b"a@b"], b"a@b"])
def test_a_list_that_is_no_text_is_refused(bad: object) -> None:
    with pytest.raises(SubmissionError, match="str"):
        parse_mailboxes(bad, "to")  # type: ignore[arg-type]


names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30).map(str.strip)


@settings(deadline=None)
@given(st.lists(st.tuples(names, addresses), min_size=1, max_size=4))
def test_what_the_standard_library_writes_is_read_back(pairs: list[tuple[str, str]]) -> None:
    pairs = [pair for pair in pairs if len(pair[1].rpartition("@")[0]) <= 64]
    text = ", ".join(email.utils.formataddr(pair) for pair in pairs)
    if "=?" in "".join(name for name, _ in pairs):
        return  # formataddr leaves such a name as it is
    found = [(mailbox.name, str(mailbox.address)) for mailbox in parse_mailboxes(text, "to")]
    assert [address for _, address in found] == [address for _, address in pairs]
    assert ["".join(name.split()) for name, _ in found] == ["".join(name.split()) for name, _ in pairs]


@settings(deadline=None)
@given(st.text(alphabet='ab@.,"<>()\\ :;[]é', max_size=20))
def test_a_list_never_means_more_than_the_standard_library_sees(text: str) -> None:
    try:
        mailboxes = parse_mailboxes(text, "to")
    except SubmissionError:
        return
    for mailbox in mailboxes:  # each was written as a whole, nothing was cut out of quotes
        again = parse_mailboxes(f"<{mailbox.address}>", "to")
        assert again == (Mailbox("", mailbox.address),)
