"""Run by Postfix's pipe: hands its words and its standard input to a socket, and ends as it is told there.

    pipe_relay.py SOCKET WORD...

Knows the standard library only: it is copied to where nobody may read it, and run by any Python that nobody may run.
"""

import json
import socket
import sys

with socket.socket(socket.AF_UNIX) as line:
    line.connect(sys.argv[1])
    line.sendall(json.dumps(sys.argv[2:]).encode() + b"\n" + sys.stdin.buffer.read())
    line.shutdown(socket.SHUT_WR)
    code, _, said = line.makefile("rb").read().partition(b"\n")
sys.stderr.buffer.write(said)
sys.exit(int(code))
