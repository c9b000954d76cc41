"""How the providers' fakes take several messages in one request: as so many requests, each answered by itself."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

from http_peer import Asked, Reply

JSON = (("Content-Type", "application/json"),)
Answer = Callable[[Asked], Reply]


def _answered(asked: Asked, target: str, messages: Sequence[Any], answer: Answer) -> list[tuple[int, Any]]:
    """Status and body of each message's answer."""
    each = [dataclasses.replace(asked, target=target, body=json.dumps(message).encode()) for message in messages]
    return [(reply.status, json.loads(reply.body)) for reply in map(answer, each)]


def postmark(asked: Asked, answer: Answer) -> Reply | None:
    """200 whatever became of them, but where the key is wrong."""
    if asked.target != "/email/batch":
        return None
    messages = json.loads(asked.body)
    assert 1 <= len(messages) <= 500
    found = _answered(asked, "/email", messages, answer)
    if found[0][0] == 401:
        return Reply(401, json.dumps(found[0][1]).encode(), JSON)
    return Reply(200, json.dumps([body for _, body in found]).encode(), JSON)


def mailjet(asked: Asked, answer: Answer) -> Reply | None:
    """A failed one stops no other; where one failed, the request's status says so."""
    table = json.loads(asked.body)
    if len(table["Messages"]) == 1:
        return None
    assert len(table["Messages"]) <= 50
    found = _answered(asked, asked.target, [{**table, "Messages": [one]} for one in table["Messages"]], answer)
    if found[0][0] == 401:
        return Reply(401, json.dumps(found[0][1]).encode(), JSON)
    said = {"Messages": [result for _, body in found for result in body["Messages"]]}
    return Reply(max(status for status, _ in found), json.dumps(said).encode(), JSON)


def resend(asked: Asked, answer: Answer) -> Reply | None:
    """Permissive: ids of those that were taken, places of those that were not."""
    if asked.target != "/emails/batch":
        return None
    messages = json.loads(asked.body)
    assert 1 <= len(messages) <= 100
    assert asked.headers["x-batch-validation"] == "permissive"
    assert "idempotency-key" not in asked.headers
    assert not any("attachments" in message for message in messages)
    each = dataclasses.replace(asked, headers={**asked.headers, "idempotency-key": "none"})
    found = _answered(each, "/emails", messages, answer)
    if found[0][0] == 403:
        return Reply(403, json.dumps(found[0][1]).encode(), JSON)
    errors = [{"index": at, "message": body["message"]} for at, (status, body) in enumerate(found) if status != 200]
    taken = [body for status, body in found if status == 200]
    return Reply(200, json.dumps({"data": taken, "errors": errors}).encode(), JSON)
