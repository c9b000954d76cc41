"""Composing against the standard library's EmailMessage: CPU time per message, in alternating rounds.

Run: python benchmarks/compose.py [--rounds N].  Prints microseconds and the minimum, median and maximum ratio of the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from email import policy
from email.message import EmailMessage

from postroad.address import parse_address
from postroad.compose import MailFields, canonicalise, compose

SENTENCE = "The quick brown fox jumps over the lazy dog, and nobody minds.\n"
TEXT = SENTENCE * 38
HTML = "<html><body><p>" + SENTENCE * 38 + "</p></body></html>\n"
PDF = os.urandom(1 << 20)


def ours(text: str, html: str, *files: tuple[str, bytes]) -> bytes:
    fields = MailFields(
        sender="Postroad <support@example.com>",
        to="Ann Example <ann@example.org>",
        subject="Your order 12345 has been sent",
        body=text,
        html=html,
        attachments=files,
    )
    return compose(fields, message_id="0123456789@mail.example.com", date=1_700_000_000).content


def theirs(text: str, html: str, *files: tuple[str, bytes]) -> bytes:
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = "Postroad <support@example.com>"
    message["To"] = "Ann Example <ann@example.org>"
    message["Subject"] = "Your order 12345 has been sent"
    message["Date"] = "Tue, 14 Nov 2023 22:13:20 +0000"
    message["Message-ID"] = "<0123456789@mail.example.com>"
    message.set_content(text)
    message.add_alternative(html, subtype="html")
    for name, data in files:
        message.add_attachment(data, maintype="application", subtype="pdf", filename=name)
    return message.as_bytes()


def microseconds(work: Callable[[], object], times: int) -> float:
    begun = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begun) / times * 1e6


def compare(name: str, mine: Callable[[], object], other: Callable[[], object], times: int, rounds: int) -> None:
    pairs = [(microseconds(mine, times), microseconds(other, max(1, times // 10))) for _ in range(rounds)]
    ratios = sorted(other / mine for mine, other in pairs)
    print(
        f"{name:28} {min(mine for mine, _ in pairs):9.1f} us  stdlib {min(other for _, other in pairs):9.1f} us  "
        f"ratio {ratios[0]:.0f} / {statistics.median(ratios):.0f} / {ratios[-1]:.0f}"
    )


def alone(name: str, work: Callable[[], object], times: int, rounds: int) -> None:
    print(f"{name:28} {min(microseconds(work, times) for _ in range(rounds)):9.2f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds: int = parser.parse_args().rounds
    umlaut, umlaut_html = TEXT.replace("fox", "Füchse"), HTML.replace("fox", "Füchse")
    compare("5 KiB text+html, ASCII", lambda: ours(TEXT, HTML), lambda: theirs(TEXT, HTML), 500, rounds)
    compare(
        "5 KiB text+html, UTF-8", lambda: ours(umlaut, umlaut_html), lambda: theirs(umlaut, umlaut_html), 500, rounds
    )
    file = ("a.pdf", PDF)
    compare("with 1 MiB attachment", lambda: ours(TEXT, HTML, file), lambda: theirs(TEXT, HTML, file), 20, rounds)
    raw = ours(TEXT * 2, HTML * 2)
    alone("canonical already, 10 KiB", lambda: canonicalise(raw, message_id="a@b", date=0), 5000, rounds)
    alone("plain address", lambda: parse_address("ann.example@example.org", "to"), 50_000, rounds)
    alone("international address", lambda: parse_address("jürgen@bücher.example", "to"), 20_000, rounds)


if __name__ == "__main__":
    main()
