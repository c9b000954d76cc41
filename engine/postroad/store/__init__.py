"""Where messages are kept: the contract (`contract.py`), the state table (`states.py`), `memory.py` and `sqlite.py`."""

from .contract import Store, StoreFactory
from .states import ENDS, LEASABLE, TRANSITIONS, State, Step, advance

__all__ = ["ENDS", "LEASABLE", "TRANSITIONS", "State", "Step", "Store", "StoreFactory", "advance"]
