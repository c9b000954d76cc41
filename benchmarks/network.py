"""A network of the benchmark's own, with loopback and nothing else: ports 25 and 53 are free there, and who listens everywhere is
a host at each address of 127.0.0.0/8.  Linux, as root; everything that is started within belongs to it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ANY_HOST", "DNS_PORT", "SMTP_PORT", "own_network"]

ANY_HOST, DNS_PORT, SMTP_PORT = "0.0.0.0", 53, 25  # in a network that nobody else reaches
_NEW_NETWORK = 0x40000000  # linux/sched.h: CLONE_NEWNET
_GET_FLAGS, _SET_FLAGS, _SET_ADDRESS, _UP = 0x8913, 0x8914, 0x8916, 0x1  # linux/sockios.h, linux/if.h
_FLAGS, _ADDRESS = struct.Struct("16sh22x"), struct.Struct("16sHH4s16x")  # netdevice(7): ifreq
_OWN_ADDRESS = (
    "192.0.2.1"  # RFC 5737.  OpenSMTPD asks for no addresses of a family of which the machine has but loopback's
)


@contextmanager
def own_network() -> Generator[str]:
    """This thread, and what it starts, is in the network until the end.  Gives why there is none; "" where there is."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY) if Path("/proc/thread-self/ns/net").exists() else -1
    try:
        if before < 0 or libc.unshare(_NEW_NETWORK):
            yield f"a network of its own cannot be had here ({os.strerror(ctypes.get_errno()) or 'no Linux'})"
            return
        try:
            _raise_loopback()
            yield ""
        finally:
            if libc.setns(before, _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "there is no way back into the machine's network")
    finally:
        if before >= 0:
            os.close(before)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        _, flags = _FLAGS.unpack(fcntl.ioctl(any_socket, _GET_FLAGS, _FLAGS.pack(b"lo", 0)))
        fcntl.ioctl(any_socket, _SET_FLAGS, _FLAGS.pack(b"lo", flags | _UP))
        address = socket.inet_aton(_OWN_ADDRESS)
        fcntl.ioctl(any_socket, _SET_ADDRESS, _ADDRESS.pack(b"lo:1", socket.AF_INET, 0, address))
