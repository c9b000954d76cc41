"""Transports that do everything right but for one thing, by the case of `check_transport` that has to notice: mail itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import trio
from honest_transport import NOBODY, REFUSED, Honest, Limited

from postroad.store.contract import LeasedRecipient
from postroad.testing.fakes import ACCEPTED
from postroad.transport import Capabilities, DeliveryRequest
from postroad.verdict import Scope, Verdict

BROKEN: list[tuple[str, type[Honest]]] = []


def breaks(*cases: str) -> Callable[[type[Honest]], type[Honest]]:
    def note(kind: type[Honest]) -> type[Honest]:
        BROKEN.extend((case, kind) for case in cases)
        return kind

    return note


class Changed(Honest):
    """Carries something else than it was given."""

    def change(self, data: bytes) -> bytes:
        raise NotImplementedError

    async def read(self, request: DeliveryRequest) -> bytes:
        return self.change(await super().read(request))


class Judging(Honest):
    """Answers otherwise than it should."""

    def judge(self, request: DeliveryRequest, verdicts: list[Any]) -> Any:
        raise NotImplementedError

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        return self.judge(request, list(await super().deliver(request)))  # type: ignore[no-any-return]


class Raising(Honest):
    """Raises at some mail."""

    def is_odd(self, request: DeliveryRequest) -> bool:
        raise NotImplementedError

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        if self.is_odd(request):
            raise ValueError("that is odd")
        return await super().deliver(request)


# --- Verdicts ---


@breaks("one_recipient")
class OneTooMany(Judging):
    def judge(self, request: DeliveryRequest, verdicts: list[Any]) -> Any:
        return [*verdicts, ACCEPTED]


@breaks("most_recipients")
class FiftyAtMost(Judging):
    def judge(self, request: DeliveryRequest, verdicts: list[Any]) -> Any:
        return verdicts[:50]


@breaks("every_number_of_recipients")
class SevenAtMost(Judging):
    def judge(self, request: DeliveryRequest, verdicts: list[Any]) -> Any:
        return verdicts[:7]


@breaks("same_address_twice")
class ByAddress(Judging):
    def judge(self, request: DeliveryRequest, verdicts: list[Any]) -> Any:
        return list(dict(zip((each.address for each in request.recipients), verdicts, strict=True)).values())


@breaks("one_refused_among_many")
class Reversed(Judging):
    def judge(self, request: DeliveryRequest, verdicts: list[Any]) -> Any:
        return verdicts[::-1]


@breaks("later_recipients_of_a_message")
class ByNumber(Raising):
    def is_odd(self, request: DeliveryRequest) -> bool:
        return any(each.number >= len(request.recipients) for each in request.recipients)


@breaks("recipients_in_doubt")
class NeverAgain(Honest):
    def answer(self, recipient: LeasedRecipient) -> Verdict:
        return NOBODY if recipient.in_doubt else super().answer(recipient)


@breaks("odd_addresses")
class FirstAt(Raising):
    def is_odd(self, request: DeliveryRequest) -> bool:
        return any(each.address.startswith(("-", '"')) for each in request.recipients)


@breaks("refused_alone")
class RefusesSilently(Judging):
    def judge(self, request: DeliveryRequest, verdicts: list[Any]) -> Any:
        return [msgspec.structs.replace(each, reply="") if each is NOBODY else each for each in verdicts]


@breaks("refused_alone")
class SendsTheRefused(Honest):
    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        if request.recipients[0].address == REFUSED:
            self.hand_over(request, await self.read(request))
        return await super().deliver(request)


@breaks("refusal_reaches_no_further")
class RefusesTheSite(Judging):
    def judge(self, request: DeliveryRequest, verdicts: list[Any]) -> Any:
        return [msgspec.structs.replace(each, scope=Scope.SITE) if each is NOBODY else each for each in verdicts]


@breaks("verdicts_stay")
class OneListForAll(Honest):
    def __init__(self) -> None:
        super().__init__()
        self._verdicts: list[Verdict] = []

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        said = list(await super().deliver(request))
        said = [msgspec.structs.replace(each, reply=f"{len(self.taken)} so far") for each in said]
        self._verdicts[:] = said
        return self._verdicts


# --- Envelope ---


@breaks("null_sender")
class NeedsASender(Raising):
    def is_odd(self, request: DeliveryRequest) -> bool:
        return not request.message.sender


@breaks("report")
class NoReports(Raising):
    def is_odd(self, request: DeliveryRequest) -> bool:
        return request.message.kind.name == "REPORT"


@breaks("dsn_options")
class NoTags(Raising):
    def is_odd(self, request: DeliveryRequest) -> bool:
        return bool(request.message.tags)


@breaks("request_is_left_alone")
class Renaming(Honest):
    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        try:
            return await super().deliver(request)
        finally:
            request.message = msgspec.structs.replace(request.message, sender="bounces@example.com")


# --- Content ---


@breaks("empty_body")
class NeedsABody(Raising):
    def is_odd(self, request: DeliveryRequest) -> bool:
        data = request.content.read_nowait() or b"x"
        return len(data.partition(b"\r\n\r\n")[2].splitlines()) == 1


@breaks("lone_dots", "large_content_in_odd_pieces")
class Unstuffing(Changed):
    def change(self, data: bytes) -> bytes:
        return data.replace(b"\r\n..\r\n", b"\r\n.\r\n")


@breaks("long_lines")
class Breaking(Changed):
    def change(self, data: bytes) -> bytes:
        return data.replace(b"x" * 998, b"x" * 500 + b"\r\n" + b"x" * 498)


@breaks("lines_that_look_like_commands")
class Escaping(Changed):
    def change(self, data: bytes) -> bytes:
        return data.replace(b"\r\nFrom x", b"\r\n>From x")


@breaks("eight_bit", "large_eight_bit")
class AsciiOnly(Changed):
    def change(self, data: bytes) -> bytes:
        return data.decode("ascii", "replace").encode()


@breaks("control_characters")
class FormFeeds(Changed):
    def change(self, data: bytes) -> bytes:
        return b"\r\n".join(data.decode("utf-8", "replace").replace("\x0c", "").encode().split(b"\r\n"))


@breaks("blanks")
class Stripping(Changed):
    def change(self, data: bytes) -> bytes:
        return b"\r\n".join(line.rstrip() for line in data.split(b"\r\n"))


@breaks("header_fields")
class OneOfEach(Changed):
    def change(self, data: bytes) -> bytes:
        return data.replace(b"X-Same: 1\r\n", b"")


@breaks("smtputf8")
class AsciiAddresses(Raising):
    def is_odd(self, request: DeliveryRequest) -> bool:
        return not request.message.sender.isascii()


@breaks("utf8_in_the_header_alone")
class AsciiHeaders(Raising):
    def is_odd(self, request: DeliveryRequest) -> bool:
        return request.message.smtputf8


@breaks("content_not_at_hand")
class AtHandOnly(Raising):
    def is_odd(self, request: DeliveryRequest) -> bool:
        return request.content.read_nowait() is None


@breaks("large_content")
class Greedy(Honest):
    async def read(self, request: DeliveryRequest) -> bytes:
        return await request.content.read()


@breaks("large_content_in_odd_pieces")
class PieceByPiece(Honest):
    """Takes pieces for whole lines."""

    async def read(self, request: DeliveryRequest) -> bytes:
        async with request.content.chunks() as pieces:
            return b"".join([piece.removeprefix(b".") async for piece in pieces])


@breaks("unreadable_content", "neighbours_of_the_unreadable")
class Blind(Honest):
    async def read(self, request: DeliveryRequest) -> bytes:
        try:
            return await super().read(request)
        except Exception:
            return b""


@breaks("content_that_breaks_off")
class TakesAPart(Honest):
    async def read(self, request: DeliveryRequest) -> bytes:
        read = b""
        async with request.content.chunks() as pieces:
            try:
                async for piece in pieces:
                    read += piece
            except Exception:
                return read
        return read


@breaks("content_is_let_go")
class Hoarding(Honest):
    def __init__(self) -> None:
        super().__init__()
        self._contents: list[Any] = []

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        self._contents.append(request.content)
        return await super().deliver(request)


# --- Capabilities ---


@breaks("sound_capabilities")
class Boasting(Honest):
    able = Capabilities(recipients_per_call=1000)


@breaks("same_capabilities")
class Wavering(Honest):
    @property
    def capabilities(self) -> Capabilities:
        self.asked = not getattr(self, "asked", False)
        return Capabilities(recipients_per_call=10 + self.asked)


@breaks("largest_content")
class OffByOne(Limited):
    def unfit(self, request: DeliveryRequest) -> Verdict | None:
        return Verdict.refused("too large", status="5.3.4") if request.content.size >= 5000 else super().unfit(request)


@breaks("too_large_content", "no_eight_bit", "no_smtputf8")
class TriesAllTheSame(Limited):
    def unfit(self, request: DeliveryRequest) -> Verdict | None:
        return None


@breaks("domain_as_declared")
class WantsADomain(Raising):
    def is_odd(self, request: DeliveryRequest) -> bool:
        return request.domain is None


# --- The moment, and how often ---


@breaks("committing_comes_first", "cancelled_at_every_step")
class Late(Honest):
    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        self.taken.append(await self.read(request))
        await trio.lowlevel.checkpoint()
        request.committing()
        return [self.answer(recipient) for recipient in request.recipients]


@breaks("no_copy_too_many")
class FourTimes(Honest):
    def hand_over(self, request: DeliveryRequest, data: bytes) -> None:
        super().hand_over(request, data)
        self.taken += [data] * 3


@breaks("deferred_once", "lost_once")
class TriesAgain(Honest):
    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        verdicts = await super().deliver(request)
        if self.peer in ("deferring", "lost"):
            self.taken += [await self.read(request)] * 2
        return verdicts


@breaks("cancelled_before_it_began")
class NeverLooks(Honest):
    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        with trio.CancelScope(shield=True):
            self.taken.append(await self.read(request))
        await trio.lowlevel.checkpoint()
        return await super().deliver(request)


@breaks("cancelled_in_a_large_content")
class SendsWhatItHas(Honest):
    async def read(self, request: DeliveryRequest) -> bytes:
        read = b""
        async with request.content.chunks() as pieces:
            async for piece in pieces:
                read += piece
                if len(read) == len(piece):
                    self.taken.append(read)
        return read
