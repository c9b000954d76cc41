"""Answers that refuse, contradict themselves or come too early: rows 19 to 27, 29, 34 and 35."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fault_case import DELIVERED, Case, Expected
from fault_scene import HUGE, ONE_BY_ONE, Scene, play, play_two

from postroad.testing.smtp_peer import ACCEPT, Cut, Raw, Reaction, Reset, Silence, SmtpPeer

__all__ = ["cases"]

IN_DOUBT, LOST, CLOSING = "in doubt 4.4.2 (site)", "deferred 4.4.2 (site)", "deferred 4.3.2 (site)"
SEVERAL = ("b@example.org", "c@example.org", "d@example.org", "e@example.org")
WAYS: dict[str, dict[str, Any]] = {
    "pipelined": {},
    "one by one": {"settings": ONE_BY_ONE},
    "pipelined, kept": {"is_kept": True},
    "one by one, kept": {"is_kept": True, "settings": ONE_BY_ONE},
    "inside TLS": {"is_tls": True},
}


def cases() -> Iterator[Case]:
    for make in (
        _ends,
        _closings,
        _early_refusals,
        _recipients,
        _lone_dots,
        _greetings,
        _hellos,
        _codes,
        _quits,
        _kept,
    ):
        yield from make()


def _case(
    row: str, what: str, scene: Scene, *outcomes: str, variant: str = "", where: str = "", gap: str = "", **more: Any
) -> Case:
    return Case(
        row=row,
        what=what,
        where=where,
        variant=variant,
        meet=lambda: play(scene),
        expected=Expected(outcomes=outcomes, **more),
        gap=gap,
    )


STUCK = "trio's TLS stream is of no use after a send that was given up, so what the server said is not read"


def _everyway(
    row: str, what: str, make: Callable[..., Scene], *outcomes: str, where: str = "", **more: Any
) -> Iterator[Case]:
    for variant, way in WAYS.items():
        yield _case(row, what, make(**way), *outcomes, variant=variant, where=where, **more)


def _ends() -> Iterator[Case]:
    """Row 19: no answer to the final dot; row 20: 421."""
    for what, reaction in {"FIN": Cut(), "RST": Reset()}.items():
        yield from _everyway(
            "19",
            f"{what} instead of the reply",
            lambda reaction=reaction, **way: Scene(replies={".": [reaction, ACCEPT]}, **way),
            IN_DOUBT,
        )
        yield _behind("19", f"{what} instead of the reply", {".": [reaction, ACCEPT]}, IN_DOUBT, DELIVERED)
    bye = {".": ["421 4.3.2 Bye", ACCEPT]}
    yield from _everyway("20", "421 4.3.2", lambda **way: Scene(replies=bye, **way), CLOSING)
    yield _behind("20", "421 4.3.2", bye, CLOSING, DELIVERED)


def _behind(row: str, what: str, replies: Mapping[str, Sequence[Reaction]], *outcomes: str) -> Case:
    """Two messages at once over one session, so that the second one's envelope goes out with the first one's content."""
    return Case(
        row=row,
        what=what,
        variant="two messages, the second one's envelope behind the first one's content",
        meet=lambda: play_two(replies),
        expected=Expected(outcomes=outcomes, is_next_delivered=None),
    )


def _closings() -> Iterator[Case]:
    """Row 21: 421 in the middle of an envelope."""
    bye = "421 4.3.2 Shutting down"
    some = {"RCPT b@example.org": "250 2.1.5 Ok", "RCPT c@example.org": "550 5.1.1 Unknown"}
    for variant, way in WAYS.items():
        outcomes = (DELIVERED,) if way.get("is_kept") else (CLOSING,)
        yield _case(
            "21", "421", Scene(replies={"MAIL": [bye, ACCEPT]}, **way), *outcomes, variant=variant, where="at MAIL"
        )
        for command in ("RCPT", "DATA"):
            scene = Scene(replies={command: [bye, ACCEPT]}, **way)
            yield _case("21", "421", scene, CLOSING, variant=variant, where=f"at {command}")
        scene = Scene(replies={**some, "RCPT d@example.org": [bye, ACCEPT]}, recipients=SEVERAL, **way)
        expected = (CLOSING, "refused 5.1.1 (recipient)", CLOSING, CLOSING)
        yield _case(
            "21",
            "421",
            scene,
            *expected,
            variant=variant,
            where="at the third of four recipients, the second was refused",
        )
    for command in ("MAIL", "RCPT", "DATA"):
        yield _behind("21", f"421 at the second {command}", {command: [ACCEPT, bye, ACCEPT]}, DELIVERED, DELIVERED)


_TO_DATA = """
    S: 220 peer.example ESMTP
    C: EHLO *
    S: 250-peer.example
    S: 250 ENHANCEDSTATUSCODES
    C: MAIL FROM:<a@example.com>
    S: 250 Ok
    C: RCPT TO:<*
    S: 250 Ok
    C: DATA
    S: 354 Go on
"""
_WILLING = f"{_TO_DATA}\n!content\nS: 250 Ok\nC: QUIT\nS: 221 Bye"
_TO_DATA_TLS = _TO_DATA.replace(
    "S: 250-peer.example",
    "S: 250-peer.example\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 Go\n!tls\nC: EHLO *\nS: 250-peer.example",
    1,
)
_WILLING_TLS = f"{_TO_DATA_TLS}\n!content\nS: 250 Ok\nC: QUIT\nS: 221 Bye"


def _early_refusals() -> Iterator[Case]:
    """Row 22: 550 in the middle of the content, after which the server reads no more."""
    refused = "refused 5.3.4 (message)"
    for variant, end in {"stays": "!silence", "closes (FIN)": "!cut", "closes (RST)": "!reset"}.items():
        for tls, (begin, willing) in {"": (_TO_DATA, _WILLING), ", inside TLS": (_TO_DATA_TLS, _WILLING_TLS)}.items():
            dialogues = (f"{begin}\nS: 552 5.3.4 Too much\n{end}", willing)
            scene = Scene(dialogues=dialogues, content=HUGE, is_tls=bool(tls))
            yield _case("22", "552 at once, the server", scene, refused, variant=f"{variant}{tls}")
    for variant, (begin, willing) in {
        "plain": (_TO_DATA, _WILLING),
        "inside TLS": (_TO_DATA_TLS, _WILLING_TLS),
    }.items():
        dialogues = (f"{begin}\n!delay 10\nS: 552 5.3.4 Too much\n!silence", willing)
        scene = Scene(dialogues=dialogues, content=HUGE, is_tls=variant == "inside TLS")
        what, gap = "552 after 10 s, when nothing more can be sent", STUCK if scene.is_tls else ""
        yield _case("22", what, scene, refused, variant=variant, seconds=(10, 183), gap=gap)


def _recipients() -> Iterator[Case]:
    """Row 23: three outcomes; row 24: too many recipients."""
    mixed = {"RCPT c@example.org": "450 4.2.1 Busy", "RCPT d@example.org": "550 5.1.1 Unknown"}
    outcomes = (DELIVERED, "deferred 4.2.1 (recipient)", "refused 5.1.1 (recipient)", DELIVERED)
    yield from _everyway(
        "23", "250, 450, 550, 250", lambda **way: Scene(replies=mixed, recipients=SEVERAL, **way), *outcomes
    )
    for reply in ("452 4.5.3 Too many", "452 Too many", "552 5.5.3 Too many", "552 Too many"):
        replies = {"RCPT d@example.org": reply, "RCPT e@example.org": reply}
        late, what = "deferred 4.5.3 (recipient)", reply.rpartition(" T")[0]
        scene = Scene(replies=replies, recipients=SEVERAL)
        yield _case("24", f"{what} to the third and fourth recipient, always", scene, DELIVERED, DELIVERED, late, late)
        scene = Scene(replies={"RCPT": [ACCEPT, ACCEPT, reply, reply, ACCEPT]}, recipients=SEVERAL, look=_transactions)
        facts = ("2 transactions of 2 recipients",)
        yield _case("24", f"{what} from the third recipient of a transaction on", scene, *[DELIVERED] * 4, facts=facts)
    for code in ("4.2.2", "4.3.1"):
        scene = Scene(replies={"RCPT c@example.org": f"452 {code} No"}, recipients=SEVERAL[:2])
        yield _case("24", f"452 {code} to the second recipient", scene, DELIVERED, f"deferred {code} (recipient)")
    for code in ("5.2.2", "5.3.4"):
        scene = Scene(replies={"RCPT c@example.org": f"552 {code} No"}, recipients=SEVERAL[:2])
        yield _case("24", f"552 {code} to the second recipient", scene, DELIVERED, f"refused {code} (recipient)")
    scene = Scene(replies={"RCPT b@example.org": "552 No"}, recipients=SEVERAL[:2])
    yield _case("24", "552 to the first recipient", scene, "refused 5.0.0 (recipient)", DELIVERED)


def _transactions(peer: SmtpPeer) -> tuple[str, ...]:
    counts = [len(each.recipients) for each in peer.transactions if "next@example.org" not in each.recipients]
    return ("2 transactions of 2 recipients",) if counts == [2, 2] else (f"TRANSACTIONS OF {counts}",)


def _lone_dots() -> Iterator[Case]:
    """Row 25: no recipient is accepted, and DATA is answered 354 nevertheless."""
    refused = {"RCPT b@example.org": "550 5.1.1 No", "RCPT c@example.org": "450 4.2.1 Busy"}
    outcomes = ("refused 5.1.1 (recipient)", "deferred 4.2.1 (recipient)")
    ends = {"250": "250 2.0.0 Ok", "554": "554 5.5.1 No recipients", "FIN": Cut()}
    for what, end in ends.items():
        scene = Scene(
            replies={**refused, "DATA": ["354 Go on then", ACCEPT], ".": [end, ACCEPT]},
            recipients=SEVERAL[:2],
            may_complain=True,
            look=_said_a_lone_dot,
        )
        facts = ("a lone dot was sent",)
        yield _case("25", f"354, and {what} to the lone dot", scene, *outcomes, variant="pipelined", facts=facts)
    scene = Scene(replies=refused, recipients=SEVERAL[:2], settings=ONE_BY_ONE, look=_said_a_lone_dot)
    yield _case("25", "all refused", scene, *outcomes, variant="one by one", facts=("DATA was not said",))


def _said_a_lone_dot(peer: SmtpPeer) -> tuple[str, ...]:
    first, _, rest = b"".join(peer.connections[0].reads).partition(b"DATA\r\n")
    if b"next@" in first:
        return ("DATA was not said",)
    return ("a lone dot was sent",) if rest.startswith(b".\r\n") else ("content was sent",)


def _greetings() -> Iterator[Case]:
    """Row 26, where there is one server; with two, in `cases_names`."""
    for reply, status in {
        "450 4.7.0": "4.7.0",
        "554 5.7.1": "4.7.1",
        "554": "4.0.0",
        "521": "4.0.0",
        "421 4.3.2": "4.3.2",
    }.items():
        scene = Scene(replies={"CONNECT": [f"{reply} No", ACCEPT]})
        yield _case("26", f"{reply} from the only server", scene, f"deferred {status} (site)")


def _hellos() -> Iterator[Case]:
    """Row 27: EHLO refused."""
    for reply in ("500 5.5.1", "502 5.5.1", "504 5.5.4", "550 5.7.1"):
        scene = Scene(replies={"EHLO": f"{reply} What?"}, look=_plain_mail)
        yield _case("27", f"{reply}, HELO is answered 250", scene, DELIVERED, facts=("HELO said, no extension used",))
    scene = Scene(replies={"EHLO": ["502 5.5.1 What?", ACCEPT], "HELO": ["550 5.7.1 Go away", ACCEPT]})
    yield _case("27", "502, HELO is answered 550", scene, "deferred 4.7.1 (site)")
    bye = {"EHLO": ["421 4.3.2 Bye", ACCEPT]}
    yield _case("27", "421", Scene(replies=bye), CLOSING)
    yield _case("27", "451", Scene(replies={"EHLO": ["451 4.3.0 Later", ACCEPT]}), "deferred 4.3.0 (site)")
    for what, reaction in {"FIN": Cut(), "RST": Reset()}.items():
        scene = Scene(replies={"EHLO": reaction}, look=_plain_mail)
        facts = ("HELO said, no extension used",)
        yield _case("27", f"{what}, HELO on a new connection is answered 250", scene, DELIVERED, facts=facts)


def _plain_mail(peer: SmtpPeer) -> tuple[str, ...]:
    is_plain = all(each.mail == "MAIL FROM:<a@example.com>" for each in peer.transactions)
    said = any(command.startswith("HELO ") for each in peer.connections for command in each.commands)
    return ("HELO said, no extension used",) if said and is_plain else ()


def _codes() -> Iterator[Case]:
    """Row 29: the enhanced code belongs to another class than the reply."""
    pairs = {
        ("the final dot", ".", "250 5.1.1 Fine"): DELIVERED,
        ("the final dot", ".", "550 2.0.0 Sure"): "refused 5.0.0 (message)",
        ("the final dot", ".", "451 5.7.1 Hm"): "deferred 4.0.0 (message)",
        ("RCPT", "RCPT b@example.org", "250 5.1.1 Fine"): DELIVERED,
        ("RCPT", "RCPT b@example.org", "550 4.2.2 Full"): "refused 5.0.0 (recipient)",
        ("RCPT", "RCPT b@example.org", "450 5.1.1 Later"): "deferred 4.0.0 (recipient)",
        ("MAIL", "MAIL a@example.com", "250 4.7.1 Fine"): DELIVERED,
    }
    for (where, command, reply), outcome in pairs.items():
        scene = Scene(replies={command: [reply, ACCEPT]})
        yield _case("29", reply[:9], scene, outcome, where=f"to {where}")


def _quits() -> Iterator[Case]:
    """Row 34: QUIT goes unanswered."""
    reactions = {"silence": Silence(), "FIN": Cut(), "RST": Reset(), "500": "500 What?", "no digits": Raw(b"bye\r\n")}
    for (what, reaction), tls in itertools.product(reactions.items(), (False, True)):
        scene = Scene(replies={"QUIT": reaction}, settings={"messages_per_session": 1}, is_tls=tls, may_complain=True)
        yield _case("34", what, scene, DELIVERED, where="at QUIT", variant="inside TLS" if tls else "plain")


_ONE_MESSAGE = f"{_TO_DATA}\n!content\nS: 250 Ok"
_ONE_MESSAGE_TLS = f"{_TO_DATA_TLS}\n!content\nS: 250 Ok"


def _kept() -> Iterator[Case]:
    """Row 35: the kept connection is dead when the next message wants it."""
    ends = {
        "FIN while it rests": "!cut",
        "RST while it rests": "!reset",
        "421 while it rests": "S: 421 4.4.2 Idle\n!silence",
    }
    for (what, end), tls in itertools.product(ends.items(), (False, True)):
        one, willing = (_ONE_MESSAGE_TLS, _WILLING_TLS) if tls else (_ONE_MESSAGE, _WILLING)
        dialogues = (f"{one}\n{end}", willing)
        scene = Scene(dialogues=dialogues, is_kept=True, is_tls=tls, look=_connections, is_followed=False)
        facts = ("2 connections in all",)
        yield _case(
            "35", what, scene, DELIVERED, variant="inside TLS" if tls else "plain", facts=facts, is_next_delivered=None
        )
    for what, reaction in {"FIN": Cut(), "RST": Reset(), "421": "421 4.4.2 Idle for too long"}.items():
        for variant, way in WAYS.items():
            if "kept" not in variant:
                continue
            scene = Scene(replies={"MAIL": [reaction, ACCEPT]}, look=_connections, **way)
            facts = ("2 connections in all",)
            yield _case("35", f"{what} at the next MAIL", scene, DELIVERED, variant=variant, facts=facts)


def _connections(peer: SmtpPeer) -> tuple[str, ...]:
    return (f"{len(peer.connections)} connections in all",)
