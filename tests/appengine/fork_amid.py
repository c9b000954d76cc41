"""A program that forks while its threads send: each child sends once, from the first message on.

    fork_amid.py SPOOL FORKS

The ids are written to standard output, one a line, by one write each.  A child that has not sent after a minute says where it is.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading

from postroad.appengine import mail

HANGS_SECONDS = 60


def send() -> None:
    mail.send_mail("a@example.com", "b@example.org", "Hello", "Hi")
    os.write(1, f"{mail.last_receipt()}\n".encode())


def child() -> None:
    status = 1
    try:
        faulthandler.dump_traceback_later(HANGS_SECONDS, exit=True)
        send()
        status = 0
    finally:
        os._exit(status)


def main(spool: str, forks: str) -> int:
    mail.configure(spool=spool)
    is_over = threading.Event()

    def run() -> None:
        while not is_over.is_set():
            send()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    children: list[int] = []
    for _ in range(int(forks)):
        process = os.fork()
        if not process:
            child()
        children.append(process)
        is_over.wait(0.02)
    failed = [process for process in children if os.waitpid(process, 0)[1]]
    is_over.set()
    for thread in threads:
        thread.join()
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
