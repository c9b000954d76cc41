"""A program as a WSGI server is one: it imports, perhaps sends, forks its workers, and each of their threads sends.

    prefork.py SPOOL PROCESSES THREADS MESSAGES [first]

Each message has a subject of its own; the ids are written to standard output, one a line, by one write each.
"""

from __future__ import annotations

import os
import sys
import threading

from postroad.appengine import mail


def send(subject: str) -> None:
    mail.send_mail("a@example.com", "b@example.org", subject, "Hi")
    os.write(1, f"{mail.last_receipt()}\n".encode())


def work(process: int, threads: int, messages: int) -> None:
    def run(thread: int) -> None:
        for number in range(messages):
            send(f"{process}.{thread}.{number}")

    running = [threading.Thread(target=run, args=[thread]) for thread in range(threads)]
    for each in running:
        each.start()
    for each in running:
        each.join()


def main(spool: str, processes: str, threads: str, messages: str, first: str = "") -> int:
    mail.configure(spool=spool)
    if first:
        send("first")
    children: list[int] = []
    for process in range(int(processes)):
        child = os.fork()
        if not child:
            status = 1
            try:
                work(process, int(threads), int(messages))
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    if first:
        send("last")
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
