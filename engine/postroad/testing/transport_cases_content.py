"""Further cases of `check_transport`: verdicts, what content looks like on the way, and what capabilities exclude."""

from __future__ import annotations

import gc
import weakref

import msgspec
import trio

from ..errors import StoreError
from ..store.contract import LeasedRecipient
from ..transport import Capabilities, Transport
from ..verdict import Disposition
from .transport_bench import Bench, Mail, NotTried, require
from .transport_cases import AS_IT_IS, BY_REFERENCE, ONE_EACH, VERDICTS, accept, accept_or_refuse, enlist_case
from .transport_cases_later import CAPABLE, TEMPORARY, cancel_at, expect_no_end

__all__: list[str] = []  # imported for its cases

SOUND, CANCEL = "T2", "T9"
_NO_EIGHT_BIT = ("5.6.1", "5.6.3")
_NO_UTF8 = ("5.6.7", *_NO_EIGHT_BIT)
_TOO_LARGE = ("5.3.4", "5.2.3")
_LARGE_BYTES = 300_000  # beyond what may be read at once
_ODD_PIECE = 997  # a prime: every place of a line comes to lie on a border
_MOST_TRIED_BYTES = 64_000_000  # larger limits are not tried: they would take seconds and much memory
_STEPS = 60
_PAUSES = (0.0, 0.01, 0.1, 1.0, 4.0, 15.0)  # 20 s in all


# --- Verdicts ---


@enlist_case(
    "a refused recipient alone is refused, with a reason, and the peer gets nothing", SOUND, "refused_recipient"
)
async def refused_alone(bench: Bench) -> None:
    mail = bench.mail(bench.refused_recipient or "")
    async with bench.open() as transport:
        [verdict] = await bench.deliver(transport, mail)
        require(verdict.disposition is Disposition.REFUSED, f"{verdict.disposition.value} instead of refused")
        require(bool(verdict.reply), "it does not say why")
        require(bench.copies(mail) == 0, "the peer has the mail")
        await bench.deliver_accepted(transport, bench.mail())


@enlist_case("the same address twice gets two verdicts", ONE_EACH)
async def same_address_twice(bench: Bench) -> None:
    async with bench.open() as transport:
        if transport.capabilities.recipients_per_call < 2:
            raise NotTried("one recipient a call")
        await bench.deliver_accepted(transport, bench.mail(*bench.addresses(1) * 2))


@enlist_case("one, two and so on up to ten recipients give as many verdicts", ONE_EACH)
async def every_number_of_recipients(bench: Bench) -> None:
    async with bench.open() as transport:
        for number in range(1, min(10, transport.capabilities.recipients_per_call) + 1):
            await bench.deliver_accepted(transport, bench.mail(*bench.addresses(number)))


@enlist_case("request, message and recipients are as they were after the call", AS_IT_IS)
async def request_is_left_alone(bench: Bench) -> None:
    mail = bench.mail()
    before = _record(mail)
    await accept(bench, mail)
    require(_record(mail) == before, "the request was changed")


def _record(mail: Mail) -> tuple[object, ...]:
    request = mail.request
    recipients: list[LeasedRecipient] = list(request.recipients)
    return request.message, recipients, request.domain, request.deadline, request.doubt_seconds


# --- Content ---


@enlist_case("folded, repeated and many fields of a header arrive", AS_IT_IS)
async def header_fields(bench: Bench) -> None:
    lines = [
        b"X-Folded: one\r\n\ttwo\r\n three",
        b"X-Same: 1",
        b"X-Same: 2",
        *(b"X-%d: %d" % (n, n) for n in range(90)),
    ]
    mail = bench.mail(header=b"\r\n".join(lines) + b"\r\n")
    await accept(bench, mail)
    bench.require_header(mail, *lines)


@enlist_case("empty lines, blanks at the ends of lines and tabs arrive as they were", AS_IT_IS)
async def blanks(bench: Bench) -> None:
    await accept(bench, bench.mail(body=b"\r\n\r\nx  \r\n\tx\t\r\n\r\n\r\n \r\n=20=\r\nlast\r\n"))


@enlist_case("control characters are carried as they are, or refused with 5.6.x", AS_IT_IS)
async def control_characters(bench: Bench) -> None:
    body = bytes(each for each in range(1, 128) if each not in b"\r\n") + b"\r\n"
    await accept_or_refuse(bench, bench.mail(body=body), "5.6.0", "5.6.1", "5.6.2", "5.6.3")


@enlist_case("a large content in odd pieces arrives as it was, its lines of dots too", BY_REFERENCE)
async def large_content_in_odd_pieces(bench: Bench) -> None:
    await bench.require_room(_LARGE_BYTES + 20_000)
    lines = (b".\r\n", b"..\r\n", b"\r\n", b".x" * 20 + b"\r\n", b"From x\r\n", b"y" * 71 + b"\r\n")
    body = b"".join(lines) * (_LARGE_BYTES // sum(map(len, lines)) + 1)
    mail = bench.mail(body=body, content={"at_hand": False, "piece_bytes": _ODD_PIECE})
    await accept(bench, mail)
    require(not mail.content.was_read_whole, f"{mail.content.size} octets were read at once")


@enlist_case("a large content with octets over 127 is carried, or refused with 5.6.3", BY_REFERENCE)
async def large_eight_bit(bench: Bench) -> None:
    await bench.require_room(_LARGE_BYTES + 20_000)
    body = ("Grüße aus Köln, " * 4 + "\r\n").encode() * (_LARGE_BYTES // 70)
    mail = bench.mail(body=body, content={"at_hand": False, "piece_bytes": _ODD_PIECE})
    await accept_or_refuse(bench, mail, *_NO_EIGHT_BIT)


@enlist_case("UTF-8 in the header alone is carried, or refused with 5.6.7", AS_IT_IS)
async def utf8_in_the_header_alone(bench: Bench) -> None:
    await accept_or_refuse(bench, bench.mail(header="X-Name: Jürgen\r\n".encode()), *_NO_UTF8)


@enlist_case("content that breaks off is not accepted, and the peer does not take what came for a mail", VERDICTS)
async def content_that_breaks_off(bench: Bench) -> None:
    await bench.require_room(_LARGE_BYTES + 20_000)
    error = StoreError("the content cannot be read on")
    body = b"x" * 70 + b"\r\n"
    async with bench.open() as transport:
        content = {"at_hand": False, "fails": error, "after_pieces": 3}
        await expect_no_end(bench, transport, bench.mail(body=body * (_LARGE_BYTES // 70), content=content))
        await bench.deliver_accepted(transport, bench.mail())


@enlist_case("cancelled while it reads a large content, it closes it, and what was not announced was not sent", CANCEL)
async def cancelled_in_a_large_content(bench: Bench) -> None:
    await bench.require_room(_LARGE_BYTES + 20_000)
    body = (b"x" * 70 + b"\r\n") * (_LARGE_BYTES // 70)
    async with bench.open() as transport:
        for step in range(0, _STEPS, 7):
            mail = bench.mail(body=body, content={"at_hand": False})

            async def deliver(mail: Mail = mail) -> None:
                await bench.deliver(transport, mail)

            if not await cancel_at(step, deliver):
                break
            require(mail.content.opened == 0, f"cancelled at step {step}, it left the content open")
            require(mail.commits > 0 or bench.copies(mail) == 0, f"cancelled at step {step}, the peer has the mail")
        await bench.deliver_accepted(transport, bench.mail())


@enlist_case("a content is let go of within 20 s of its verdict", BY_REFERENCE)
async def content_is_let_go(bench: Bench) -> None:
    async with bench.open() as transport:
        kept = await _deliver_and_forget(bench, transport)
        for pause in _PAUSES:
            if not _is_alive(kept):
                break
            await bench.deliver(transport, bench.mail())  # what is kept until the next mail is let go with it
            await trio.sleep(pause)
        require(not _is_alive(kept), "it is still held")


async def _deliver_and_forget(bench: Bench, transport: Transport) -> weakref.ref[object]:
    mail = bench.mail()
    await bench.deliver(transport, mail)
    return weakref.ref(mail.content)


def _is_alive(kept: weakref.ref[object]) -> bool:
    gc.collect()
    return kept() is not None


# --- Capabilities ---


@enlist_case("two transports of the same settings declare the same", CAPABLE)
async def same_capabilities(bench: Bench) -> None:
    async with bench.open() as one, bench.open() as other:
        for able in (one.capabilities, other.capabilities):
            require(type(able) is Capabilities, f"capabilities are {type(able).__name__} instead of Capabilities")
        require(one.capabilities == other.capabilities, "they declare different capabilities")


@enlist_case("a content as large as it declares is carried", CAPABLE)
async def largest_content(bench: Bench) -> None:
    await accept(bench, await _of_the_limit(bench, 0))


@enlist_case("a content one octet larger than it declares is refused with 5.3.4, and not sent", CAPABLE)
async def too_large_content(bench: Bench) -> None:
    await _expect_refusal(bench, await _of_the_limit(bench, 1), *_TOO_LARGE)


async def _of_the_limit(bench: Bench, more: int) -> Mail:
    async with bench.open() as transport:
        limit = transport.capabilities.message_bytes
    if limit is None or limit > _MOST_TRIED_BYTES:
        raise NotTried("it declares no limit" if limit is None else f"{limit} octets take too long")
    missing = limit + more - bench.mail(body=b"").content.size
    if missing < 0:
        raise NotTried(f"{limit} octets are less than a small mail")
    line = b"x" * 70 + b"\r\n"
    body = line * (missing // len(line)) + b"y" * (missing % len(line))
    return bench.mail(body=body, content={"at_hand": False})


@enlist_case("declared without eight_bit, it refuses octets over 127 with 5.6.3", CAPABLE)
async def no_eight_bit(bench: Bench) -> None:
    await _expect_able(bench, "eight_bit")
    await _expect_refusal(bench, bench.mail(body="Grüße\r\n".encode()), *_NO_EIGHT_BIT)


@enlist_case("declared without smtputf8, it refuses UTF-8 addresses with 5.6.7", CAPABLE)
async def no_smtputf8(bench: Bench) -> None:
    await _expect_able(bench, "smtputf8")
    await _expect_refusal(bench, bench.mail(f"jürgen@{bench.domain}"), *_NO_UTF8)


async def _expect_able(bench: Bench, capability: str) -> None:
    async with bench.open() as transport:
        if getattr(transport.capabilities, capability):
            raise NotTried(f"it declares {capability}")


async def _expect_refusal(bench: Bench, mail: Mail, *statuses: str) -> None:
    async with bench.open() as transport:
        for verdict in await bench.deliver(transport, mail):
            refused = verdict.disposition is Disposition.REFUSED and verdict.status in statuses
            require(refused, f"{verdict.disposition.value} {verdict.status} instead of refused {statuses[0]}")
    require(bench.copies(mail) == 0, "the peer has the mail")


@enlist_case("with a domain in the request or without, it delivers as `by_domain` declares", CAPABLE)
async def domain_as_declared(bench: Bench) -> None:
    async with bench.open() as transport:
        mail = bench.mail()
        if not transport.capabilities.by_domain:
            mail.request.domain = None
        await bench.deliver_accepted(transport, mail)


@enlist_case("verdicts are as they were when the next mail is done", SOUND)
async def verdicts_stay(bench: Bench) -> None:
    async with bench.open() as transport:
        first = await transport.deliver(bench.mail().request)
        copies = list(map(msgspec.structs.replace, first))
        await bench.deliver_accepted(transport, bench.mail(*bench.addresses(1)))
        require(list(first) == copies, "they were changed")


@enlist_case("no verdict about a refused recipient holds the transport or its site", TEMPORARY, "refused_recipient")
async def refusal_reaches_no_further(bench: Bench) -> None:
    async with bench.open() as transport:
        for verdict in await bench.deliver(transport, bench.mail(bench.refused_recipient or "")):
            reach = verdict.scope.value
            require(reach in ("recipient", "message"), f"a refused recipient is told with scope {reach}")
