"""The smarthost's addresses, as the system finds them; and what is said where it finds none."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from postroad_smtp.smarthost import SystemNames
from postroad_smtp.trouble import Trouble


class Names(trio.abc.HostnameResolver):
    """In the place of the system's names."""

    def __init__(self, answer: Callable[[], Awaitable[Any]]) -> None:
        self._answer = answer

    async def getaddrinfo(self, *_: object, **__: object) -> Any:
        return await self._answer()

    async def getnameinfo(self, *_: object, **__: object) -> Any:
        raise NotImplementedError


async def _unknown() -> Any:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize(
    ("answer", "said"), [(_unknown, "cannot be resolved: "), (trio.sleep_forever, "was not resolved in 15 seconds")]
)
async def test_a_smarthost_that_is_not_found_is_named(
    answer: Callable[[], Awaitable[Any]], said: str, autojump_clock: MockClock
) -> None:
    trio.socket.set_custom_hostname_resolver(Names(answer))
    with pytest.raises(Trouble, match=rf"the smarthost's name, mail\.example\.com, {said}") as caught:
        await SystemNames(15.0).addresses("mail.example.com")
    assert caught.value.status == "4.4.3"
