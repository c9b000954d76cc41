"""The mechanisms against the RFCs' own examples, and against servers that say what does not fit."""

from __future__ import annotations

import base64
import hashlib

import pytest
import trio
import trio.lowlevel

from postroad_smtp import sasl
from postroad_smtp.login import Login
from postroad_smtp.mechanism import Derivation, Unfit
from postroad_smtp.passwords import CramMd5, LoginMechanism, Plain, XOAuth2
from postroad_smtp.salting import Salting
from postroad_smtp.scram import MOST_ITERATIONS, ScramSha256

TIM = Login("tim", "tanstaaftanstaaf")
USER = Login("user", "pencil")
TOKEN = Login("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg", is_token=True)


def b64(text: str | bytes) -> bytes:
    return base64.b64encode(text.encode() if isinstance(text, str) else text)


def _key(wanted: object) -> bytes:
    """What the caller of a mechanism does with a derivation."""
    assert isinstance(wanted, Derivation)
    return wanted.then(hashlib.pbkdf2_hmac("sha256", wanted.password, wanted.salt, wanted.iterations))


# --- As the RFCs show it ---


def test_plain_of_rfc_4616() -> None:
    assert Plain(TIM).initial == b"\0tim\0tanstaaftanstaaf"
    assert Plain(TIM).is_done


def test_cram_md5_of_rfc_2195() -> None:
    cram = CramMd5(TIM)
    assert (cram.initial, cram.is_done) == (None, False)
    response = cram.answer(b"PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+")
    assert b64(response) == b"dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"
    assert cram.is_done


def test_xoauth2_as_its_inventor_shows_it() -> None:
    assert b64(XOAuth2(TOKEN).initial or b"") == (
        b"dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRH"
        b"RXVZMjl0Q2cBAQ=="
    )


def test_a_refusal_of_xoauth2_is_answered_with_nothing() -> None:
    mechanism = XOAuth2(TOKEN)
    assert mechanism.answer(b64('{"status":"401"}')) == b""
    assert not mechanism.is_done
    with pytest.raises(Unfit):
        mechanism.answer(b"")


def test_login_does_not_look_at_what_it_is_asked() -> None:
    mechanism = LoginMechanism(TIM)
    assert mechanism.answer(b"Username:") == b"tim"
    assert not mechanism.is_done
    assert mechanism.answer(b"") == b"tanstaaftanstaaf"
    assert mechanism.is_done
    with pytest.raises(Unfit):
        mechanism.answer(b"")


NONCE = "rOprNGfwEbeRWgbNEkqO"
SERVERS = NONCE + "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FIRST = f"r={SERVERS},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"


def test_scram_sha_256_of_rfc_7677() -> None:
    scram = ScramSha256(USER, NONCE)
    assert scram.initial == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert _key(scram.answer(b64(FIRST))) == (
        f"c=biws,r={SERVERS},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode()
    )
    assert not scram.is_done
    assert scram.answer(b64("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")) == b""
    assert scram.is_done
    with pytest.raises(Unfit, match="asks on"):
        scram.answer(b"")


def test_a_scram_name_is_prepared_and_escaped_and_the_nonce_is_new_each_time() -> None:
    first, second = (ScramSha256(Login("a=b,\u2168", "pencil")).initial or b"" for _ in range(2))
    assert first.startswith(b"n,,n=a=3Db=2CIX,r=")
    assert first != second
    assert len(first.partition(b",r=")[2]) >= 24


# --- What does not fit ---


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("r=other%hvYDpWUa2RaTCAfuxFIlj,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "nonce"),
        (f"r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "nonce"),
        (f"r={NONCE[:-1]},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "nonce"),
        (f"r={SERVERS},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095", "iterations"),
        (f"r={SERVERS},s=W22ZaJ0SNY7soEsUEjb6gQ==,i={MOST_ITERATIONS + 1}", "iterations"),
        (f"r={SERVERS},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999999", "first message"),
        (f"r={SERVERS},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=-1", "first message"),
        (f"r={SERVERS},s=W22Za=J0,i=4096", "base64"),
        (f"r={SERVERS},s=,i=4096", "first message"),
        (f"m=ext,{FIRST}", "first message"),
        ("", "first message"),
        ("Username:", "first message"),
        ("e=invalid-encoding", "invalid-encoding"),
        (f"r={SERVERS}\n,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "first message"),
    ],
)
def test_scram_gives_up_at_a_first_message_that_does_not_fit(message: str, words: str) -> None:
    with pytest.raises(Unfit, match=words):
        ScramSha256(USER, NONCE).answer(b64(message))


@pytest.mark.parametrize(
    "message",
    [
        "v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        "v=" + b64(bytes(32)).decode(),
        "v=6rri",
        "v=",
        "",
        "e=invalid-proof",
        FIRST,
    ],
)
def test_scram_gives_up_where_the_server_does_not_prove_itself(message: str) -> None:
    scram = ScramSha256(USER, NONCE)
    _key(scram.answer(b64(FIRST)))
    with pytest.raises(Unfit) as caught:
        scram.answer(b64(message))
    assert not scram.is_done
    assert "pencil" not in str(caught.value)


@pytest.mark.parametrize("make", [CramMd5, ScramSha256])
def test_a_challenge_that_is_not_base64_does_not_fit(make: type[CramMd5]) -> None:
    for challenge in (b"*", b"====", b"A", b"\xff\xfe", b"PDE4 OTYu"):
        with pytest.raises(Unfit, match="base64"):
            make(USER).answer(challenge)


def test_plain_and_cram_md5_answer_no_second_challenge() -> None:
    with pytest.raises(Unfit):
        Plain(TIM).answer(b"")
    with pytest.raises(Unfit, match="empty"):
        CramMd5(TIM).answer(b"")
    cram = CramMd5(TIM)
    cram.answer(b64("<1@x>"))
    with pytest.raises(Unfit):
        cram.answer(b64("<2@x>"))


# --- Which one ---

ALL = frozenset(sasl.KNOWN)


@pytest.mark.parametrize(
    ("offered", "allowed", "is_secure", "expected"),
    [
        (ALL, (), True, ["SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"]),
        (ALL, (), False, ["SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN"]),
        (ALL, ("LOGIN", "PLAIN"), True, ["PLAIN", "LOGIN"]),
        (frozenset({"PLAIN", "GSSAPI"}), (), True, ["PLAIN"]),
        (frozenset({"GSSAPI", "XOAUTH2"}), (), True, []),
        (frozenset({"PLAIN"}), ("SCRAM-SHA-256",), True, []),
    ],
)
def test_the_best_that_is_offered_and_allowed_is_taken(
    offered: frozenset[str], allowed: tuple[str, ...], is_secure: bool, expected: list[str]
) -> None:
    assert sasl.choose(offered, USER, allowed, is_secure=is_secure) == expected


def test_a_token_is_for_xoauth2_and_never_without_tls() -> None:
    assert sasl.choose(ALL, TOKEN, (), is_secure=True) == ["XOAUTH2"]
    assert sasl.choose(ALL, TOKEN, (), is_secure=False) == []


def test_a_password_that_cannot_be_prepared_is_not_for_scram() -> None:
    assert sasl.choose(ALL, Login("user", "bell\u0007"), (), is_secure=True) == ["PLAIN", "LOGIN", "CRAM-MD5"]


# --- Keys ---


def _derivation(salt: bytes = b"salt", iterations: int = 4096) -> Derivation:
    return Derivation(b"pencil", salt, iterations, lambda key: key)


async def test_a_key_is_derived_once(monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[tuple[object, ...]] = []

    def derive(*about: object) -> bytes:
        derived.append(about)
        return b"key"

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", derive)
    salting = Salting()
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(salting.key, _derivation())
    assert await salting.key(_derivation(b"other")) == b"key"
    assert derived == [("sha256", b"pencil", salt, 4096) for salt in (b"salt", b"other")]
    for number in range(20):
        await salting.key(_derivation(b"%d" % number))
    await salting.key(_derivation())
    assert len(derived) == 23, "only a few are kept"


async def test_a_long_derivation_leaves_the_others_their_turn() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        key = await Salting().key(_derivation(iterations=200_000))
        nursery.cancel_scope.cancel()
    assert key == hashlib.pbkdf2_hmac("sha256", b"pencil", b"salt", 200_000)
    assert turns > 10


def test_no_representation_shows_a_secret() -> None:
    assert "pencil" not in repr(USER)
    assert "pencil" not in repr(_derivation())
    for mechanism in (Plain(USER), LoginMechanism(USER), CramMd5(USER), ScramSha256(USER)):
        assert "pencil" not in repr(mechanism)
