"""The transport: content in, a request by the provider's module, one verdict per recipient out.

It never bounces for trouble of ours: a missing or refused key holds the transport.  Where one recipient of several makes the
provider refuse the whole request, nothing was sent, and each gets a request of its own.  docs/http.md.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import msgspec
import trio

from postroad import Refusal
from postroad.errors import ConfigError
from postroad.log import printable
from postroad.message import Message
from postroad.store.contract import LeasedRecipient
from postroad.transport import Capabilities, DeliveryRequest
from postroad.verdict import Disposition, Scope, Verdict

from .exchange import Exchange, Outcome, Unanswered, Unsent
from .fields import check_others
from .gathering import Gathering, Shared
from .letter import Unfit
from .provider import Answer, Batching, Call, Parcel, Provider, Unreadable
from .settings import BatchTable, FieldTable, HttpTable
from .verdicts import general

__all__ = ["HttpTransport"]

_INLINE_OCTETS = 262_144  # larger contents are read and written in a thread: 40 ms for a megabyte
_NARROW_SECONDS = 2.0  # of the engine's time that must be left for one request more


class HttpTransport:
    """One provider's account.  Raises ConfigError for settings that cannot be right, a secret that is not there among them."""

    def __init__(self, provider: Provider, settings: HttpTable) -> None:
        self._provider = provider
        self._settings = settings
        self._base = (settings.base_url or provider.base_url(settings)).rstrip("/")
        self._remote = printable(urlsplit(self._base).netloc, 200)
        self._site = printable(f"{provider.name}:{self._remote}#{settings.account}", 300)
        self._most = settings.batch if isinstance(settings, BatchTable) else 1
        self._exchange: Exchange | None = None
        self._gathering: Gathering | None = None
        settings.secret()

    def over(self, exchange: Exchange, nursery: trio.Nursery) -> HttpTransport:
        """nursery: for requests that several calls share."""
        self._exchange = exchange
        if self._most > 1 and isinstance(self._provider, Batching):
            self._gathering = Gathering(
                exchange, self._provider, nursery, most=self._most, calls=self._settings.connections
            )
        return self

    @property
    def capabilities(self) -> Capabilities:
        able = self._provider.able
        return Capabilities(
            recipients_per_call=able.recipients_per_call,
            messages_per_call=self._most,
            message_bytes=able.message_bytes,
            smtputf8=False,
            idempotent=able.idempotent and self._most == 1,
            schedules=able.schedules,
        )

    def objection(self, message: Message, recipients: Sequence[str], content: bytes) -> Refusal | None:
        """What its request would be refused for, without asking anybody; see `postroad.transport.Objecting`."""
        if verdict := self._own_verdict(content):
            return Refusal(field="content" if verdict.status == "5.3.4" else "headers", problem=verdict.reply)
        odd = next((address for address in recipients if not address.isascii()), None)
        if odd is not None:
            return Refusal(field="recipients", problem=f"{self._utf8_refusal().reply}, as in {odd!r}")
        try:
            self._try_writing(message, recipients, content)
        except Unfit as unfit:
            return Refusal(field=unfit.field, problem=f"{self._provider.title} cannot carry it: {unfit}")
        except ConfigError:  # of the moment: delivery holds the transport
            return None
        return None

    def _try_writing(self, message: Message, recipients: Sequence[str], content: bytes) -> None:
        """Raises Unfit.  All recipients get the same but for who is named, so that it is written for the first ones only."""
        to = tuple(recipients[: self._provider.able.recipients_per_call])
        parcel = self._parcel(message, to, tuple(range(len(to))), content, "secret")
        self._provider.write(parcel, self._settings)
        if isinstance(self._settings, FieldTable):
            for address in recipients[1:]:
                check_others(parcel.letter, address, self._settings)

    async def deliver(self, request: DeliveryRequest) -> Sequence[Verdict]:
        """Try once to hand the message over; see `postroad.transport.Transport`."""
        await (
            trio.lowlevel.checkpoint_if_cancelled()
        )  # a turn of the loop would leave a kept connection idle for as long
        content = await _read(request)
        if (verdict := self._own_verdict(content)) is not None:
            return [verdict] * len(request.recipients)
        able = [recipient for recipient in request.recipients if recipient.address.isascii()]
        found: Sequence[Verdict] = await self._attempt(request, able, content) if able else ()
        carried = dict(zip((recipient.number for recipient in able), found, strict=True))
        return [carried.get(recipient.number) or self._utf8_refusal() for recipient in request.recipients]

    def _own_verdict(self, content: bytes) -> Verdict | None:
        """What is clear without asking."""
        if not content.partition(b"\r\n\r\n")[0].isascii():
            return self._utf8_refusal()
        most = self._provider.able.message_bytes
        if len(content) > most:
            said = f"{self._provider.title} takes at most {most:,} octets, the message has {len(content):,}"
            return self._placed(Verdict.refused(said, status="5.3.4", scope=Scope.MESSAGE))
        return None

    def _utf8_refusal(self) -> Verdict:
        said = f"{self._provider.title} takes no UTF-8 in addresses and header fields"
        return self._placed(Verdict.refused(said, status="5.6.7"))

    async def _attempt(
        self, request: DeliveryRequest, recipients: Sequence[LeasedRecipient], content: bytes
    ) -> Sequence[Verdict]:
        verdicts = await self._one_call(request, recipients, content, is_first=True)
        if verdicts is None:  # of a request that it shared, and that another message may be to blame for
            return await self._alone(request, recipients, content)
        if len(recipients) == 1 or not all(map(_refuses_the_whole, verdicts)):
            return verdicts
        return await self._alone(request, recipients, content)

    async def _alone(
        self, request: DeliveryRequest, recipients: Sequence[LeasedRecipient], content: bytes
    ) -> Sequence[Verdict]:
        """A request for each of them, for one may be to blame for all."""
        alone: list[Verdict] = []
        for recipient in recipients:
            verdicts = await self._one_call(request, [recipient], content) if _has_time(request) else None
            alone.extend(verdicts or [self._placed(Verdict.deferred("no time was left to try this recipient alone"))])
        return alone

    async def _one_call(
        self,
        request: DeliveryRequest,
        recipients: Sequence[LeasedRecipient],
        content: bytes,
        *,
        is_first: bool = False,
    ) -> Sequence[Verdict] | None:
        """None where another message of the request may be to blame.

        is_first: nothing was said to the provider yet, so that a cancelled call may forget everything, and may be shared.
        """
        try:
            numbers = tuple(recipient.number for recipient in recipients)
            to = tuple(recipient.address for recipient in recipients)
            parcel = self._parcel(request.message, to, numbers, content, self._settings.secret())
            call = await self._write(parcel)
        except ConfigError as error:
            verdict = Verdict.deferred(printable(str(error)), status="4.3.5", scope=Scope.TRANSPORT)
            return [self._placed(verdict)] * len(recipients)
        except Unfit as unfit:
            said = printable(f"{self._provider.title} cannot carry it: {unfit}")
            verdict = Verdict.refused(said, status=unfit.status, scope=Scope.MESSAGE)
            return [self._placed(verdict)] * len(recipients)
        became = await self._ask(call, request, may_share=is_first and len(content) <= _INLINE_OCTETS)
        if is_first and isinstance(became.outcome, Unsent):
            await trio.lowlevel.checkpoint_if_cancelled()
        found = self._judge(became.outcome, parcel)
        if became.is_of_all and any(map(_may_be_anothers, found)):
            return None
        return [self._hidden(self._placed(verdict), parcel.secret) for verdict in found]

    async def _ask(self, call: Call, request: DeliveryRequest, *, may_share: bool) -> Shared:
        """may_share: a large one would hold the others up."""
        assert self._exchange is not None
        if self._gathering is not None and may_share:
            return await self._gathering.ask(call, request.committing, request.doubt_seconds)
        return Shared(await self._exchange.ask(call, request.committing, request.doubt_seconds))

    def _parcel(
        self, message: Message, recipients: tuple[str, ...], numbers: tuple[int, ...], content: bytes, secret: str
    ) -> Parcel:
        return Parcel(
            id=message.id,
            recipients=recipients,
            numbers=numbers,
            content=content,
            tags=message.tags if self._settings.tags else (),
            base=self._base,
            secret=secret,
            now=time.time(),
            key=_key_of(message.id, numbers),
        )

    async def _write(self, parcel: Parcel) -> Call:
        if len(parcel.content) <= _INLINE_OCTETS:
            return self._provider.write(parcel, self._settings)
        return await _shielded(self._provider.write, parcel, self._settings)

    # --- Verdicts ---

    def _judge(self, outcome: Outcome, parcel: Parcel) -> Sequence[Verdict]:
        number = len(parcel.recipients)
        if isinstance(outcome, Unsent):
            return [_of_unsent(outcome)] * number
        if isinstance(outcome, Unanswered):
            said = printable(f"{outcome.said}; it may have been accepted")
            return [Verdict.in_doubt(said, handed_over=outcome.handed_over)] * number
        if 200 <= outcome.status < 300:
            return self._accepted(outcome, parcel)
        found = self._provider.failed(outcome, parcel) or general(outcome, parcel.now)
        return [found] * number if isinstance(found, Verdict) else found

    def _accepted(self, answer: Answer, parcel: Parcel) -> Sequence[Verdict]:
        """A success that cannot be read proves nothing: a gateway between may have said it, or the provider, having accepted."""
        try:
            verdicts = self._provider.accepted(answer, parcel)
        except Unreadable as error:
            said = printable(f"{answer.status} with a body that says nothing known ({error})")
            verdicts = [Verdict.in_doubt(said, handed_over=True)] * len(parcel.recipients)
        assert len(verdicts) == len(parcel.recipients)
        return verdicts

    def _placed(self, verdict: Verdict) -> Verdict:
        return msgspec.structs.replace(verdict, remote=self._remote, site=self._site)

    @staticmethod
    def _hidden(verdict: Verdict, secret: str) -> Verdict:
        """A provider may say the secret back."""
        if secret not in verdict.reply:
            return verdict
        return msgspec.structs.replace(verdict, reply=verdict.reply.replace(secret, "[hidden]"))


async def _shielded(work: Callable[[Parcel, HttpTable], Call], parcel: Parcel, settings: HttpTable) -> Call:
    """In a thread, which cannot be cancelled in the second or so that it takes."""
    call: Call | None = None
    with trio.CancelScope(shield=True):
        call = await trio.to_thread.run_sync(work, parcel, settings)
    assert call is not None
    return call


async def _read(request: DeliveryRequest) -> bytes:
    data = request.content.read_nowait()
    if data is not None:
        return data
    if request.content.size <= _INLINE_OCTETS:
        return await request.content.read()
    async with request.content.chunks() as pieces:
        return b"".join([piece async for piece in pieces])


def _of_unsent(outcome: Unsent) -> Verdict:
    if outcome.is_local:
        return Verdict.postponed(outcome.said)
    return Verdict.deferred(outcome.said, status="4.4.1", scope=Scope.SITE)


def _refuses_the_whole(verdict: Verdict) -> bool:
    return verdict.disposition is Disposition.REFUSED and verdict.scope is Scope.MESSAGE


def _may_be_anothers(verdict: Verdict) -> bool:
    """Whether it blames a message or recipient, and not the account or the provider."""
    is_no = verdict.disposition in (Disposition.REFUSED, Disposition.DEFERRED)
    return is_no and verdict.scope in (Scope.MESSAGE, Scope.RECIPIENT)


def _has_time(request: DeliveryRequest) -> bool:
    until = min(request.deadline, trio.current_effective_deadline())
    return until - trio.current_time() > _NARROW_SECONDS


def _key_of(id: str, numbers: Sequence[int]) -> str:
    """An idempotency key: another one for each message and each choice of its recipients."""
    digest = hashlib.sha256(f"{id} {sorted(numbers)}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"postroad-{digest}"
