"""Logins over the wire: each mechanism, what becomes of a refused one, and that no secret is ever shown."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from smtp_road import OpenRoad
from structlog.testing import capture_logs
from trio.testing import MockClock

from postroad.errors import ConfigError
from postroad.log import CUT
from postroad.testing.smtp_peer import ACCEPT, Behaviour, Connection, Raw, Reaction, SmtpPeer
from postroad.verdict import Disposition, Scope, Verdict
from postroad_smtp import emit, smtp_transport
from postroad_smtp.authentication import Authentication
from postroad_smtp.deeds import Derive, Ready, Say
from postroad_smtp.login import Login, Source
from postroad_smtp.protocol import TABLE, Answer, Awaited, Step
from postroad_smtp.reply import Reply
from postroad_smtp.trouble import Trouble

ACCEPTED, DEFERRED = Disposition.ACCEPTED, Disposition.DEFERRED
PASSWORD = "s3cret w\u00f6rd"
TOKEN = "ya29.a0AfH6SMBx-" + "q9Z" * 60
MECHANISMS = ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"]
MakeContext = Callable[..., ssl.SSLContext]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTROAD_TEST_PASSWORD", PASSWORD)
    monkeypatch.setenv("POSTROAD_TEST_TOKEN", TOKEN)


LOGIN = {"username": "user", "password_env": "POSTROAD_TEST_PASSWORD"}
BY_TOKEN = {"username": "user@example.com", "token_env": "POSTROAD_TEST_TOKEN"}


def _assert_held(verdict: Verdict, status: str = "4.7.0") -> None:
    assert (verdict.disposition, verdict.scope, verdict.status) == (DEFERRED, Scope.TRANSPORT, status)


# --- Each mechanism ---


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_logs_in_under_tls(road: OpenRoad, server_context: MakeContext, mechanism: str) -> None:
    behaviour = Behaviour(logins={"user": PASSWORD}, mechanisms=("X-UNKNOWN", mechanism))
    async with road(peer=SmtpPeer(behaviour, tls=server_context()), tls="required", **LOGIN) as way:
        (verdict,) = await way.send()
        assert verdict.disposition is ACCEPTED
        assert way.peer.connections[0].login == ("user", PASSWORD)


async def test_logs_in_by_a_token(road: OpenRoad, server_context: MakeContext) -> None:
    behaviour = Behaviour(logins={"user@example.com": TOKEN}, mechanisms=("PLAIN", "XOAUTH2"))
    async with road(peer=SmtpPeer(behaviour, tls=server_context()), tls="required", **BY_TOKEN) as way:
        assert (await way.send())[0].disposition is ACCEPTED
        auth = way.peer.connections[0].commands[3]
        assert auth.startswith("AUTH XOAUTH2 ")
        assert len(auth) <= 510


async def test_a_token_too_long_for_the_command_answers_an_empty_challenge(
    road: OpenRoad, server_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "x" * 4000
    monkeypatch.setenv("POSTROAD_TEST_TOKEN", token)
    behaviour = Behaviour(logins={"user@example.com": token}, mechanisms=("XOAUTH2",))
    async with road(peer=SmtpPeer(behaviour, tls=server_context()), tls="required", **BY_TOKEN) as way:
        assert (await way.send())[0].disposition is ACCEPTED
        assert "AUTH XOAUTH2" in way.peer.connections[0].commands


async def test_a_token_is_read_anew_for_each_login(road: OpenRoad, server_context: MakeContext, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    behaviour = Behaviour(logins={"u": "first"}, mechanisms=("XOAUTH2",))
    settings = {"username": "u", "token_file": str(path), "messages_per_session": 1, "tls": "required"}
    async with road(peer=SmtpPeer(behaviour, tls=server_context()), **settings) as way:
        assert (await way.send())[0].disposition is ACCEPTED
        behaviour.logins["u"] = "second"
        _assert_held((await way.send())[0], "4.7.8")
        path.write_text("second\n")
        assert (await way.send())[0].disposition is ACCEPTED
        path.unlink()
        (verdict,) = await way.send()
        _assert_held(verdict)
        assert "token_file" in verdict.reply


async def test_the_password_may_be_in_a_file(road: OpenRoad, server_context: MakeContext, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("from a file\nsecond line\n")
    peer = SmtpPeer(Behaviour(logins={"user": "from a file"}), tls=server_context())
    async with road(peer=peer, tls="required", username="user", password_file=str(path)) as way:
        assert (await way.send())[0].disposition is ACCEPTED


async def test_the_best_mechanism_is_taken_unless_others_are_named(road: OpenRoad, server_context: MakeContext) -> None:
    for allowed, expected in (((), "SCRAM-SHA-256"), (("LOGIN", "CRAM-MD5"), "LOGIN")):
        peer = SmtpPeer(Behaviour(logins={"user": PASSWORD}, mechanisms=MECHANISMS), tls=server_context())
        async with road(peer=peer, tls="required", mechanisms=list(allowed), **LOGIN) as way:
            assert (await way.send())[0].disposition is ACCEPTED
            assert way.peer.connections[0].commands[3].split(" ")[1] == expected


# --- Without TLS ---


@pytest.mark.parametrize("login_without_tls", [False, True])
async def test_no_login_without_tls_unless_allowed(road: OpenRoad, *, login_without_tls: bool) -> None:
    peer = SmtpPeer(Behaviour(logins={"user": PASSWORD}))
    async with road(peer=peer, login_without_tls=login_without_tls, **LOGIN) as way:
        (verdict,) = await way.send()
        assert verdict.disposition is (ACCEPTED if login_without_tls else DEFERRED)
        assert verdict.scope is (Scope.RECIPIENT if login_without_tls else Scope.TRANSPORT)
        assert ("AUTH" in way.commands()) is login_without_tls


async def test_no_login_in_plain_text_where_tls_was_offered_and_then_refused(
    road: OpenRoad, server_context: MakeContext
) -> None:
    """Somebody on the line may have refused it; that a login is allowed without TLS is for servers that offer none."""
    behaviour = Behaviour({"STARTTLS": "454 4.7.0 Not now"}, logins={"user": PASSWORD})
    async with road(peer=SmtpPeer(behaviour, tls=server_context()), login_without_tls=True, **LOGIN) as way:
        (verdict,) = await way.send()
        assert verdict.disposition is DEFERRED
        assert "AUTH" not in way.commands()


async def test_in_the_open_the_password_itself_is_the_last_resort(road: OpenRoad) -> None:
    peer = SmtpPeer(Behaviour(logins={"user": PASSWORD}, mechanisms=("PLAIN", "LOGIN", "CRAM-MD5")))
    async with road(peer=peer, login_without_tls=True, **LOGIN) as way:
        assert (await way.send())[0].disposition is ACCEPTED
        assert "AUTH CRAM-MD5" in way.peer.connections[0].commands


async def test_a_token_never_goes_without_tls(road: OpenRoad) -> None:
    peer = SmtpPeer(Behaviour(logins={"user@example.com": TOKEN}, mechanisms=("XOAUTH2",)))
    async with road(peer=peer, login_without_tls=True, **BY_TOKEN) as way:
        _assert_held((await way.send())[0])
        assert "AUTH" not in way.commands()


# --- Refused ---


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_a_refused_login_holds_the_transport_and_bounces_nothing(
    road: OpenRoad, server_context: MakeContext, mechanism: str
) -> None:
    behaviour = Behaviour(logins={"user": "another"}, mechanisms=(mechanism,))
    async with road(peer=SmtpPeer(behaviour, tls=server_context()), tls="required", **LOGIN) as way:
        _assert_held((await way.send())[0], "4.7.8")
        assert len(way.peer.connections) == 1, "a wrong password is not tried twice"


async def test_a_refused_token_is_told_as_the_server_tells_it(road: OpenRoad, server_context: MakeContext) -> None:
    behaviour = Behaviour(logins={"user@example.com": "another"}, mechanisms=("XOAUTH2",))
    async with road(peer=SmtpPeer(behaviour, tls=server_context()), tls="required", **BY_TOKEN) as way:
        (verdict,) = await way.send()
        _assert_held(verdict, "4.7.8")
        assert verdict.reply == "535 5.7.8 Wrong credentials"


@pytest.mark.parametrize("refusal", ["535 5.7.8 No", "534 5.7.9 Too weak", "454 4.7.0 Later", "530 5.7.0 What"])
async def test_another_mechanism_is_not_tried_once_this_one_was_judged(
    road: OpenRoad, server_context: MakeContext, refusal: str
) -> None:
    peer = SmtpPeer(Behaviour({"AUTH": [refusal, ACCEPT]}, logins={"user": PASSWORD}), tls=server_context())
    async with road(peer=peer, tls="required", **LOGIN) as way:
        (verdict,) = await way.send()
        _assert_held(verdict, "4" + refusal[5:9])
        assert way.commands().count("AUTH") == 1


async def test_a_mechanism_that_is_not_known_after_all_gives_way_to_the_next(
    road: OpenRoad, server_context: MakeContext
) -> None:
    behaviour = Behaviour({"AUTH": ["504 5.5.4 Not known", ACCEPT]}, logins={"user": PASSWORD})
    async with road(peer=SmtpPeer(behaviour, tls=server_context()), tls="required", **LOGIN) as way:
        assert (await way.send())[0].disposition is ACCEPTED
        tried = [command.split(" ")[1] for command in way.peer.connections[0].commands if command.startswith("AUTH")]
        assert tried == ["PLAIN", "LOGIN"]


async def test_each_mechanism_is_tried_once(road: OpenRoad, server_context: MakeContext) -> None:
    behaviour = Behaviour({"AUTH": "504 5.5.4 Not known"}, logins={"user": PASSWORD}, mechanisms=MECHANISMS)
    async with road(peer=SmtpPeer(behaviour, tls=server_context()), tls="required", **LOGIN) as way:
        _assert_held((await way.send())[0], "4.5.4")
        assert way.commands().count("AUTH") == len(MECHANISMS)


async def test_a_server_without_a_known_login_holds_the_transport(road: OpenRoad, server_context: MakeContext) -> None:
    extensions = ["AUTH GSSAPI \x1b[2J"]
    async with road(
        peer=SmtpPeer(Behaviour(extensions=extensions), tls=server_context()), tls="required", **LOGIN
    ) as way:
        (verdict,) = await way.send()
        _assert_held(verdict)
        assert "GSSAPI" in verdict.reply
        assert verdict.reply.isprintable()


async def test_421_to_a_login_is_the_servers_trouble_not_the_logins(
    road: OpenRoad, server_context: MakeContext
) -> None:
    peer = SmtpPeer(Behaviour({"AUTH": ["421 4.3.2 Bye", ACCEPT]}, logins={"user": PASSWORD}), tls=server_context())
    async with road(peer=peer, tls="required", **LOGIN) as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.scope) == (DEFERRED, Scope.SITE)
        assert (await way.send())[0].disposition is ACCEPTED


# --- Out of turn ---


def _dialogue(*lines: str) -> str:
    return "\n".join(["S: 220 hi", "C: EHLO *", "S: 250-hi", f"S: 250 AUTH {' '.join(MECHANISMS)}", *lines])


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


OUT_OF_TURN = {
    "a challenge after PLAIN": (
        "PLAIN",
        ["C: AUTH PLAIN *", "S: 334 ", "C: [*]", "S: 501 5.7.0 Cancelled"],
        "all was said",
    ),
    "no base64": ("CRAM-MD5", ["C: AUTH CRAM-MD5", "S: 334 <1@x>", "C: [*]", "S: 501 Cancelled"], "base64"),
    "two lines": (
        "CRAM-MD5",
        ["C: AUTH CRAM-MD5", "S: 334-PDFA", "S: 334 eD4=", "C: [*]", "S: 501 x"],
        "several lines",
    ),
    "a foreign nonce": (
        "SCRAM-SHA-256",
        ["C: AUTH SCRAM-SHA-256 *", f"S: 334 {_b64('r=x,s=c2FsdA==,i=4096')}", "C: [*]", "S: 501 Cancelled"],
        "nonce",
    ),
    "success after giving up": ("PLAIN", ["C: AUTH PLAIN *", "S: 334 ", "C: [*]", "S: 235 Welcome"], "all was said"),
    "a challenge after giving up": ("PLAIN", ["C: AUTH PLAIN *", "S: 334 ", "C: [*]", "S: 334 "], "all was said"),
    "success before the proof": ("SCRAM-SHA-256", ["C: AUTH SCRAM-SHA-256 *", "S: 235 Welcome"], "proven nothing"),
    "success before the password": (
        "LOGIN",
        ["C: AUTH LOGIN", "S: 334 ", "C: dXNlcg==", "S: 235 Welcome"],
        "out of turn",
    ),
    "a third question": (
        "LOGIN",
        ["C: AUTH LOGIN", "S: 334 ", "C: dXNlcg==", "S: 334 ", "C: czNj*", "S: 334 ", "C: [*]", "S: 501 x"],
        "more than user name and password",
    ),
}


@pytest.mark.parametrize("case", OUT_OF_TURN)
async def test_what_does_not_fit_is_given_up_and_holds_the_transport(road: OpenRoad, case: str) -> None:
    mechanism, lines, words = OUT_OF_TURN[case]
    peer = SmtpPeer(dialogue=_dialogue(*lines, "!close"))
    async with road(peer=peer, login_without_tls=True, mechanisms=[mechanism], **LOGIN) as way:
        (verdict,) = await way.send()
        _assert_held(verdict)
        assert words in verdict.reply


@pytest.mark.parametrize("reply", ["354 go", "199 what"])
async def test_another_reply_than_334_breaks_the_connection(road: OpenRoad, reply: str) -> None:
    async with road(
        peer=SmtpPeer(dialogue=_dialogue("C: AUTH *", f"!raw {reply}\\r\\n", "!close")),
        **LOGIN,
        login_without_tls=True,
        mechanisms=["PLAIN"],
    ) as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.status) == (DEFERRED, "4.5.0")


async def test_a_silent_login_ends_in_time(road: OpenRoad, autojump_clock: MockClock) -> None:
    peer = SmtpPeer(dialogue=_dialogue("C: AUTH *", "!silence"))
    async with road(peer=peer, login_without_tls=True, **LOGIN) as way:
        (verdict,) = await way.send()
        assert (verdict.disposition, verdict.status) == (DEFERRED, "4.4.2")


# --- Keys ---


async def test_a_reconnect_derives_nothing(
    road: OpenRoad, server_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived: list[int] = []

    async def derive(password: bytes, salt: bytes, iterations: int) -> bytes:
        derived.append(iterations)
        return await real(password, salt, iterations)

    from postroad_smtp import salting

    real = salting._derive
    monkeypatch.setattr(salting, "_derive", derive)
    behaviour = Behaviour(logins={"user": PASSWORD}, mechanisms=("SCRAM-SHA-256",), iterations=5000)
    peer = SmtpPeer(behaviour, tls=server_context())
    async with road(peer=peer, tls="required", messages_per_session=1, **LOGIN) as way:
        for _ in range(3):
            assert (await way.send())[0].disposition is ACCEPTED
    assert derived == [5000]


# --- Secrets ---


class Echo(Behaviour):
    """Repeats what it was sent, as servers do with commands that they do not understand."""

    def __init__(self, form: Callable[[str], Reaction], **more: object) -> None:
        super().__init__(**more)  # type: ignore[arg-type]
        self._form = form

    def react(self, verb: str, argument: str, connection: Connection) -> Reaction:
        return self._form(argument) if verb == "AUTH" else super().react(verb, argument, connection)


def _decoded(argument: str) -> str:
    return base64.b64decode(argument.split(" ")[1]).decode().replace("\0", " ").replace("\x01", " ")


ECHOES: dict[str, Callable[[str], Reaction]] = {
    "the line": lambda argument: f"501 5.5.2 What is AUTH {argument}?",
    "a piece of it": lambda argument: f"501 5.5.2 What is AUTH {argument[:-7]}",
    "the end of it": lambda argument: f"535 5.7.8 no {argument[-20:]}",
    "in capitals": lambda argument: f"500 WHAT IS AUTH {argument.upper()}",
    "decoded": lambda argument: f"535 5.7.8 Wrong: {_decoded(argument)}",
    "in a success": lambda argument: f"354 {argument}",
    "in a goodbye": lambda argument: f"421 4.3.2 {argument}",
    "in no reply at all": lambda argument: Raw(f"eh? AUTH {argument}\r\n".encode()),
    "with another code": lambda argument: f"535-x\n534 {argument}",
}


@pytest.mark.parametrize("login", [LOGIN, BY_TOKEN], ids=["password", "token"])
@pytest.mark.parametrize("echo", ECHOES)
async def test_a_server_that_repeats_a_secret_does_not_get_it_into_verdicts_or_logs(
    road: OpenRoad, server_context: MakeContext, echo: str, login: dict[str, str]
) -> None:
    secret = PASSWORD if login is LOGIN else TOKEN
    behaviour = Echo(ECHOES[echo], logins={"x": "x"}, mechanisms=("PLAIN", "XOAUTH2"))
    with capture_logs() as logs:
        async with road(
            peer=SmtpPeer(behaviour, tls=server_context()), tls="required", is_strict=False, **login
        ) as way:
            (verdict,) = await way.send()
            sent = way.peer.connections[0].commands[3].split(" ")[2]
    assert verdict.disposition is DEFERRED
    told = f"{verdict!r} {logs!r}".lower()
    assert secret.lower() not in told
    assert "***" in told or echo == "with another code"
    for start in range(len(sent) - 12):
        assert sent[start : start + 12].lower() not in told


LATER = {
    "in the clear": lambda secret, sent: f"550 5.7.1 not with {secret}",
    "as it was sent": lambda secret, sent: f"451 4.7.1 AUTH={sent}",
    "among other letters": lambda secret, sent: f"500 5.5.1 unknown/AUTHPLAIN{sent}+",
    "in base64 by itself": lambda secret, sent: f"550 5.7.1 {base64.b64encode(secret.encode()).decode()}",
    "cut in the middle": lambda secret, sent: "550 5.7.1 ".ljust(512 - len(CUT) - 6, "x") + secret + "x" * 20,
    "in a goodbye": lambda secret, sent: f"421 4.3.2 {secret}",
    "in nonsense": lambda secret, sent: Raw(f"eh {secret} {sent}\r\n".encode()),
}


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize("echo", LATER)
async def test_a_server_that_repeats_the_password_later_does_not_get_it_into_verdicts_or_logs(
    road: OpenRoad, server_context: MakeContext, echo: str, verb: str
) -> None:
    sent = base64.b64encode(f"\0{LOGIN['username']}\0{PASSWORD}".encode()).decode()
    replies = {verb: LATER[echo](PASSWORD, sent)}
    behaviour = Behaviour(replies, logins={LOGIN["username"]: PASSWORD}, mechanisms=("PLAIN",))
    with capture_logs() as logs:
        async with road(
            peer=SmtpPeer(behaviour, tls=server_context()), tls="required", is_strict=False, **LOGIN
        ) as way:
            (verdict,) = await way.send()
    told = f"{verdict!r} {logs!r}"
    assert "***" in told
    assert PASSWORD[:5] not in told
    assert sent[8:20] not in told
    assert base64.b64encode(PASSWORD.encode()).decode()[:10] not in told


async def test_nor_where_it_accepts_the_message(road: OpenRoad) -> None:
    behaviour = Behaviour(
        {".": f"250 2.0.0 Ok, {PASSWORD}"}, logins={LOGIN["username"]: PASSWORD}, mechanisms=("PLAIN",)
    )
    async with road(peer=SmtpPeer(behaviour), login_without_tls=True, **LOGIN) as way:
        (verdict,) = await way.send()
    assert (verdict.disposition, verdict.reply) == (ACCEPTED, "250 2.0.0 Ok, ***")


def _answer(reply: Reply) -> Answer[None]:
    return Answer(Awaited.AUTH, TABLE[Awaited.AUTH].get(reply.kind, Step.BREAK), reply, None)


@pytest.mark.parametrize("name", [*MECHANISMS, "XOAUTH2"])
@pytest.mark.parametrize("code", [235, 334, 354, 421, 454, 504, 535])
def test_no_object_or_trouble_of_a_login_shows_its_secret(name: str, code: int) -> None:
    login = Login("user", TOKEN if name == "XOAUTH2" else "pencil-and-paper", is_token=name == "XOAUTH2")
    authentication = Authentication(login, [name])
    deed: object = authentication.begin()
    shown = [repr(deed), repr(authentication), repr(login)]
    for _ in range(3):
        try:
            deed = authentication.take(_answer(Reply(code, (b"VXNlcm5hbWU6",))))
        except Trouble as trouble:
            shown.append(f"{trouble!r} {trouble} {trouble.said}")
            break
        shown.append(repr(deed))
        if isinstance(deed, Ready):
            break
        assert isinstance(deed, (Say, Derive))
    told = " ".join(shown)
    assert login.secret not in told
    assert base64.b64encode(login.secret.encode()).decode() not in told


# --- What is configured ---


@pytest.mark.parametrize("secret", ["", "a\rb", "a\0b", "x" * 8193, "\udcff"], ids=ascii)
@pytest.mark.parametrize("key", ["password_file", "token_file"])
def test_a_secret_that_cannot_be_used_is_refused_by_its_setting(tmp_path: Path, key: str, secret: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(secret.encode("utf-8", "surrogateescape") + b"\r\nsecond line")
    with pytest.raises(ConfigError) as caught:
        Source("user", key, str(path)).read()
    assert caught.value.key == key
    assert not secret or secret not in str(caught.value)


@pytest.mark.parametrize("value", ["", "a\nb", "a\rb", "x" * 9000], ids=ascii)
@pytest.mark.parametrize("key", ["password_env", "token_env"])
def test_a_secret_of_the_environment_too(monkeypatch: pytest.MonkeyPatch, key: str, value: str) -> None:
    monkeypatch.setenv("POSTROAD_TEST_SECRET", value)
    with pytest.raises(ConfigError) as caught:
        Source("user", key, "POSTROAD_TEST_SECRET").read()
    assert caught.value.key == key


@pytest.mark.parametrize("token", ["two words", "gr\u00fcn", "tab\t"])
def test_a_token_is_visible_ascii(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("POSTROAD_TEST_SECRET", token)
    with pytest.raises(ConfigError, match="RFC 6750") as caught:
        Source("user", "token_env", "POSTROAD_TEST_SECRET").read()
    assert token not in str(caught.value)


@pytest.mark.parametrize("username", ["a\r\nb", "a\0b", "a\x01b", "x" * 600])
async def test_a_user_name_that_cannot_be_used_is_refused_at_the_start(username: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with smtp_transport(
            {"smarthost": "host", "username": username, "password_env": "POSTROAD_TEST_PASSWORD"}
        ):
            pytest.fail("opened")
    assert caught.value.key == "username"


def test_auth_lines_have_their_limits() -> None:
    assert emit.auth_fits("PLAIN", b"x" * 370)
    assert not emit.auth_fits("PLAIN", b"x" * 380)
    assert emit.auth_answer(b"") == b"\r\n"
