"""Random lives of a whole engine, in virtual time, over both stores: no promise may be broken in any of them."""

from __future__ import annotations

from engine_machine import EngineMachine
from store_machine import bounded


class DurableEngineMachine(EngineMachine):
    is_durable = True


TestEngineInMemory = EngineMachine.TestCase
TestEngineInMemory.settings = bounded(20, 20)
TestEngineOnDisk = DurableEngineMachine.TestCase
TestEngineOnDisk.settings = bounded(20, 20)
