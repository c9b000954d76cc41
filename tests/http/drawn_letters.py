"""Messages for tests, drawn by hypothesis: what they are made of, and their canonical form by the standard library."""

from __future__ import annotations

import email.policy
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from functools import cached_property

from hypothesis import strategies as st

_POLICY = email.policy.SMTP.clone(cte_type="7bit", max_line_length=900)  # the folding of 3.11 breaks names

words = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp", "Zs")), min_size=1, max_size=12)
names = (
    st.lists(words, max_size=3).map(" ".join).filter(lambda name: "=?" not in name)
)  # the standard library writes it as it is
lines = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=90)
texts = (
    st.lists(lines, min_size=1, max_size=6).map(lambda found: "\n".join(found) + "\n").filter(lambda text: text.strip())
)
locals_ = st.from_regex(r"[a-z0-9][a-z0-9.+_-]{0,10}[a-z0-9]", fullmatch=True).filter(lambda local: ".." not in local)
addresses = st.builds("{}@{}.example".format, locals_, st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True))
file_names = st.builds("{}{}".format, words.filter(lambda word: "/" not in word and "\\" not in word), st.just(".png"))


@dataclass(frozen=True)
class Sent:
    """A file of a drawn message.  cid: "" for an ordinary one."""

    name: str
    data: bytes
    cid: str = ""


@dataclass(frozen=True)
class Drawn:
    author: tuple[str, str]
    to: tuple[str, str]
    reply_to: tuple[str, str] | None
    subject: str
    text: str
    html: str | None
    files: list[Sent] = field(default_factory=list)
    headers: list[tuple[str, str]] = field(default_factory=list)

    @cached_property
    def content(self) -> bytes:
        message = EmailMessage(policy=_POLICY)
        message["From"] = _address(self.author)
        message["To"] = _address(self.to)
        if self.reply_to:
            message["Reply-To"] = _address(self.reply_to)
        message["Subject"] = self.subject
        message["Message-ID"] = "<drawn@example.com>"
        message["Date"] = "Fri, 27 Nov 2026 10:00:00 +0000"
        for name, value in self.headers:
            message[name] = value
        message.set_content(self.text, cte="quoted-printable")
        if self.html is not None:
            message.add_alternative(self.html, subtype="html", cte="base64")
            inline = message.get_payload(1)
            for sent in (sent for sent in self.files if sent.cid):
                inline.add_related(
                    sent.data, "image", "png", cid=f"<{sent.cid}>", filename=sent.name, disposition="inline"
                )
        for sent in (sent for sent in self.files if not sent.cid):
            message.add_attachment(sent.data, "image", "png", filename=sent.name)
        return message.as_bytes()


def _address(pair: tuple[str, str]) -> Address:
    return Address(pair[0], addr_spec=pair[1])


def _files(with_html: bool) -> st.SearchStrategy[list[Sent]]:
    plain = st.builds(Sent, file_names, st.binary(max_size=300))
    inline = st.builds(Sent, file_names, st.binary(max_size=300), st.from_regex(r"[a-z0-9]{3,9}@x", fullmatch=True))
    return st.lists(
        st.one_of(plain, inline) if with_html else plain, max_size=3, unique_by=lambda sent: (sent.cid, sent.name)
    )


headers = st.sampled_from(
    [
        [],
        [("List-Unsubscribe", "<https://example.com/u?x=1>"), ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")],
        [
            ("X-Campaign", "spring"),
            ("In-Reply-To", "<a@example.com>"),
            ("References", "<b@example.com> <a@example.com>"),
        ],
        [("Auto-Submitted", "auto-generated"), ("Precedence", "bulk")],
    ]
)


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    pair = st.tuples(names, addresses)
    html = draw(st.none() | texts)
    return Drawn(
        author=draw(pair),
        to=draw(pair),
        reply_to=draw(st.none() | pair),
        subject=draw(names.filter(bool)),
        text=draw(texts),
        html=html,
        files=draw(_files(html is not None)),
        headers=draw(headers),
    )
