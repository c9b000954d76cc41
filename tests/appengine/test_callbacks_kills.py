"""Real processes are killed between report, POST and answer, while the application fails every third time: nothing is lost."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

KILLS = 5
HERE = Path(__file__).parent


class Application(ThreadingHTTPServer):
    """taken: (key, subject, whether it said that it may be a duplicate) of what was answered with 200, in order."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.taken = []
        self.asked = 0
        self.kill = {}  # what ends the engine, by the moment: "asked" is before the answer, "answered" right behind it

    def end(self, moment):
        with self.lock:
            if process := self.kill.pop(moment, None):
                process.kill()

    def handle_error(self, request, client_address):
        """The engine at the other end was killed."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with self.server.lock:
            self.server.asked += 1
            status = 500 if self.server.asked % 3 == 0 else 200
            if status == 200 and len(body) == int(self.headers["Content-Length"]):
                self.server.taken.append(self.told(body))
        time.sleep(0.01)  # so that kills fall between the request and its answer
        self.server.end("asked")
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.wfile.flush()
        self.server.end("answered")

    def told(self, body):
        path = unquote(self.path)
        if path == "/_ah/bounce":
            name = "bounce " + re.search(r'name="original-subject"\r\n.*\r\n\r\n(.*)\r\n', body)[1]
        else:
            name = "mail " + re.fullmatch(r"/_ah/mail/in(.*)@app\.example", path)[1]
        return self.headers["Idempotency-Key"], name, "X-Postroad-Maybe-Duplicate" in self.headers

    def log_message(self, *args):
        pass


@contextmanager
def application():
    with Application() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server, f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def begin(folder, url, life):
    command = [sys.executable, str(HERE / "engine_that_is_killed.py"), str(folder), url, life]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_no_callback_is_lost_by_kills_and_none_comes_twice_without_a_word(tmp_path):
    ledger, draw = tmp_path / "ledger", random.Random("callbacks")
    ledger.touch()
    with application() as (server, url):
        for life in range(KILLS):
            size = ledger.stat().st_size
            process = begin(tmp_path, url, str(life))
            deadline = time.monotonic() + 60
            while ledger.stat().st_size <= size + 200:
                assert process.poll() is None, "the engine ended by itself"
                assert time.monotonic() < deadline, "nothing was acknowledged"
                time.sleep(0.005)
            time.sleep(draw.random() * 0.3)
            process.kill()
            process.wait()
        assert begin(tmp_path, url, "last").wait(timeout=120) == 0
        taken = list(server.taken)
    acknowledged = ledger.read_text().splitlines()
    assert len(acknowledged) > 10 * KILLS
    check(taken, acknowledged)


@pytest.mark.parametrize("moment", ["asked", "answered"])
def test_a_kill_before_or_right_behind_the_answer_loses_no_callback(tmp_path, moment):
    ledger = tmp_path / "ledger"
    ledger.touch()
    with application() as (server, url):
        for life in range(3):
            process = begin(tmp_path, url, str(life))
            server.kill[moment] = process
            assert process.wait(timeout=60) == -signal.SIGKILL
        assert begin(tmp_path, url, "last").wait(timeout=120) == 0
        taken = list(server.taken)
    check(taken, ledger.read_text().splitlines())
    assert any(says_duplicate for _, _, says_duplicate in taken), "no kill left a doubt"


def check(taken, acknowledged):
    """Nothing acknowledged is lost, and what comes twice says so and has the same key."""
    names = Counter(name for _, name, _ in taken)
    assert [name for name in acknowledged if not names[name]] == []
    keys = defaultdict(set)
    seen = set()
    for key, name, says_duplicate in taken:
        keys[name].add(key)
        assert key not in seen or says_duplicate, f"{name} came twice without a word"
        seen.add(key)
    assert {name: found for name, found in keys.items() if len(found) > 1} == {}, "a failure was reported twice"
