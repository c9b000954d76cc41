"""`postroad receive`, as a mail server's pipe calls it: alone, and beside a running engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from postroad.cli import receive as receive_command
from postroad.handover import Handover
from postroad.spool import SpoolLock, SpoolPlace

SECONDS = 60
RAW = b"From: b@example.org\nTo: support@app.example\nSubject: Help\n\nHelp me.\n"
TO = "support@app.example"
BOUNCE = (
    b"From: mailer-daemon@mx.example.org\nTo: a@example.com\nSubject: Undelivered\n"
    b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
    b"--b\n\nSorry.\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\n"
    b"Final-Recipient: rfc822; b@example.org\nAction: failed\nStatus: 5.1.1\n\n"
    b"--b\nContent-Type: text/rfc822-headers\n\nSubject: Hello\nTo: b@example.org\n\n--b--\n"
)


class Application(ThreadingHTTPServer):
    """What is posted to it, as (path, return path, body)."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.posted = []
        self.has_posted = threading.Semaphore(0)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, self.headers["X-Postroad-Sender"], body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.has_posted.release()

    def log_message(self, *args):
        pass


@contextmanager
def application():
    with Application() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def tell(command, url="http://127.0.0.1:1"):
    """The configuration of an engine whose application is at a URL."""
    text = command.file.read_text(encoding="utf-8").replace("[spool]", "[spool]\nreserve_bytes = 0", 1)
    more = '[callbacks]\ntransport = "app"\n\n[transports.app]\nplugin = "appengine"\n'
    command.configure(f'{text}\n{more}url = "{url}"\n')


def pipe(command, *words, stdin=RAW):
    """As a mail server does: a process of its own with the mail on its standard input."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("POSTROAD_")}
    return subprocess.run(
        [sys.executable, "-m", "postroad.cli", "--config", str(command.file), "receive", *words],
        input=stdin, capture_output=True, timeout=SECONDS, env=env, check=False,
    )  # fmt: skip


@pytest.fixture
def told(command):
    tell(command)
    return command


def test_mail_that_is_piped_in_while_an_engine_serves_is_posted_to_the_application(command):
    with application() as server:
        tell(command, server.url)
        process = command.start("serve")
        try:
            assert process.stdout.readline().startswith("READY")
            piped = pipe(command, "--sender", "b@example.org", TO)
            assert (piped.returncode, piped.stderr) == (0, b"")
            bounced = pipe(command, "--bounce", stdin=BOUNCE)
            assert (bounced.returncode, bounced.stdout, bounced.stderr) == (0, b"", b"")
            for _ in range(2):
                assert server.has_posted.acquire(timeout=SECONDS)
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=SECONDS)[1]
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 0, said
    mail, bounce = sorted(server.posted, key=lambda posted: posted[0] == "/_ah/bounce")
    assert mail == (f"/_ah/mail/{TO}", "b@example.org", RAW)
    assert bounce[0] == "/_ah/bounce"
    assert b"b@example.org" in bounce[2]
    assert command.json("queue", "show", piped.stdout.decode().strip())["recipients"][0]["state"] == "accepted"


def test_without_an_engine_it_waits_and_the_id_is_printed(told):
    id = told.ok("receive", TO, "sales@app.example", stdin=RAW)
    shown = told.json("queue", "show", id)
    assert [recipient["address"] for recipient in shown["recipients"]] == [TO, "sales@app.example"]
    assert shown["sender"] == ""
    other = told.json("receive", "--sender", "b@example.org", TO, stdin=RAW)["id"]
    assert told.json("queue", "show", other)["sender"] == "b@example.org"
    assert told.json("receive", "--bounce", stdin=BOUNCE) == {"id": None}
    assert len(told.json("queue", "list")) == 3


def test_one_key_is_one_mail(told):
    words = ("receive", "--key", "k", TO)
    assert told.ok(*words, stdin=RAW) == told.ok(*words, stdin=RAW)
    assert told.run(*words, stdin=RAW + b"x").exit_code == 65


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name the addresses"),
        (("--bounce", TO), "no addresses are given"),
        (("--bounce", "--sender", "a@example.org"), "no --sender is given"),
        (("--unknown", TO), "No such option"),
        (("nobody",), "recipients[0]"),
        (("--sender", "nobody", TO), "sender"),
        (("--key", "k" * 201, TO), "idempotency_key"),
    ],
)
def test_what_is_wrong_with_the_command_line_ends_with_64(told, words, said):
    result = told.run("receive", *words, stdin=RAW)
    assert (result.exit_code, result.stdout) == (64, "")
    assert said in result.stderr
    assert told.json("queue", "list") == []


def test_mail_that_is_too_large_ends_with_65(command):
    command.configure(command.file.read_text(encoding="utf-8") + "[limits]\nmessage_bytes = 2000\n")
    tell(command)
    for words in ((TO,), ("--bounce",)):
        result = command.run("receive", *words, stdin=b"x" * 2001)
        assert (result.exit_code, result.stderr.startswith("postroad: raw: ")) == (65, True)


def test_no_mail_on_standard_input_ends_with_66(told, monkeypatch):
    assert told.run("receive", TO, stdin=b"").exit_code == 66
    deaf = os.open(told.folder / "out", os.O_WRONLY | os.O_CREAT)
    try:
        env = {name: value for name, value in os.environ.items() if not name.startswith("POSTROAD_")}
        words = [sys.executable, "-m", "postroad.cli", "--config", str(told.file), "receive", TO]
        ended = subprocess.run(words, stdin=deaf, capture_output=True, timeout=SECONDS, env=env, check=False)
    finally:
        os.close(deaf)
    assert ended.returncode == 66, ended.stderr
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(receive_command._NoInput):
        receive_command._read(None)


def test_whatever_is_not_the_mails_fault_ends_with_75(command, monkeypatch):
    """A mail server returns mail at every other code, also where only the configuration is wrong."""
    no_callbacks = command.run("receive", TO, stdin=RAW)
    assert (no_callbacks.exit_code, "callbacks.transport" in no_callbacks.stderr) == (75, True)
    no_engine = command.run("receive", "--bounce", stdin=BOUNCE)
    assert (no_engine.exit_code, "no engine runs" in no_engine.stderr) == (75, True)
    assert command.run("--config", "missing.toml", "receive", TO, stdin=RAW).exit_code == 75
    command.configure("nonsense = ")
    assert command.run("receive", TO, stdin=RAW).exit_code == 75

    def fail(*args, **options):
        raise MemoryError

    monkeypatch.setattr(Handover, "receive", fail)
    command.configure("")
    assert command.run("receive", TO, stdin=RAW).exit_code == 75


def test_a_spool_that_cannot_be_reached_ends_with_75(told, monkeypatch):
    monkeypatch.setattr(Handover.__init__, "__kwdefaults__", {"deadline_seconds": 0.05})
    place = SpoolPlace.parse(f"sqlite:{told.folder}/spool/postroad.db", told.folder)
    (told.folder / "spool").mkdir(exist_ok=True)
    with SpoolLock(place.lock_path):
        result = told.run("receive", TO, stdin=RAW)
    assert (result.exit_code, "could not be reached" in result.stderr) == (75, True)
