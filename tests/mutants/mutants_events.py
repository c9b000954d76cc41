"""Mutants of what keeps a provider's later word from being forged, told twice, lost, or believed of another's mail."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["EVENTS"]

_EVENTS = "plugins/postroad_http/events"
_APPLICATION = f"{_EVENTS}/application.py"
_SOURCE = f"{_EVENTS}/source.py"
_DOOR = "engine/postroad/remote_notices.py"
_OF_APPLICATION = "http/test_provider_events.py"
_OF_SOURCES = "http/test_provider_sources.py"
_OF_DOOR = "test_remote_notices.py"

EVENTS = (
    Mutant(
        "a forged event is believed",
        "P1",
        "reads what nobody has proven",
        _APPLICATION,
        "            source.check(posted, Keys(keys.secret, keys.now, keys.url, keys.topics, certificate))\n",
        "            source.read(posted)\n",
        (f"{_OF_APPLICATION}::test_a_forged_bounce_changes_nothing[resend]",),
    ),
    Mutant(
        "any password is right",
        "P1",
        "believes whoever gives a password",
        _SOURCE,
        "if not secret or not hmac.compare_digest(",
        "if not secret and not hmac.compare_digest(",
        (f"{_OF_SOURCES}::test_passwords[postmark]", f"{_OF_APPLICATION}::test_a_forged_bounce_changes_nothing[brevo]"),
    ),
    Mutant(
        "Mailgun's signature is any",
        "P1",
        "compares the signature with itself",
        f"{_EVENTS}/mailgun.py",
        "hmac.compare_digest(given, signed.hexdigest().encode())",
        "hmac.compare_digest(given, given)",
        (f"{_OF_SOURCES}::test_nothing_is_believed_by_another_secret[another-mailgun]",),
    ),
    Mutant(
        "SendGrid's time is not signed",
        "P1",
        "verifies the body without its time",
        f"{_EVENTS}/sendgrid.py",
        "moment.encode() + posted.body",
        "posted.body",
        (f"{_OF_SOURCES}::test_sendgrids_own_vector",),
    ),
    Mutant(
        "a certificate from anywhere",
        "P1",
        "fetches and believes a stranger's certificate",
        f"{_EVENTS}/ses.py",
        'if not re.fullmatch(re.escape(_place(whole, keys)) + r"SimpleNotificationService-[0-9a-f]{8,64}\\.pem", url):',
        'if not _place(whole, keys) or not url.startswith("https://"):',
        (f"{_OF_APPLICATION}::test_certificates_are_asked_for_once_and_only_at_amazon",),
    ),
    Mutant(
        "any topic is ours",
        "P1",
        "believes whoever has a topic at Amazon",
        f"{_EVENTS}/ses.py",
        "if topic not in keys.topics or match is None:",
        "if match is None:",
        (f"{_OF_SOURCES}::test_another_topic_is_not_believed_whoever_signed",),
    ),
    Mutant(
        "a signature holds for ever",
        "P1",
        "takes an old request for a fresh one",
        _SOURCE,
        "if not -_LATER_SECONDS <= now - float(moment) <= window_seconds:",
        "if not -_LATER_SECONDS <= now - float(moment):",
        (f"{_OF_SOURCES}::test_what_is_outdated_is_not_believed[resend]",),
    ),
    Mutant(
        "a replayed event is told again",
        "P2",
        "forgets what it has told",
        _DOOR,
        "            if digest in seen or digest in fresh:\n",
        "            if digest in fresh:\n",
        (f"{_OF_DOOR}::test_a_bounce_becomes_the_senders_report_once",),
    ),
    Mutant(
        "a replayed event is told again after a restart",
        "P2",
        "remembers only while the engine runs",
        _DOOR,
        "operations += [Remember(name, value) for name, value in seen.add(batch.taken).items()]",
        "seen.add(batch.taken)",
        (f"{_OF_DOOR}::test_what_was_taken_is_known_after_a_restart",),
    ),
    Mutant(
        "a token is good for two requests",
        "P1",
        "believes another body under a token that was taken",
        _DOOR,
        "if token and digest_of(transport, token) in seen:",
        "if False:",
        (
            f"{_OF_DOOR}::test_a_token_is_taken_once_whatever_comes_with_it",
            f"{_OF_APPLICATION}::test_an_altered_body_under_a_taken_token_changes_nothing",
        ),
    ),
    Mutant(
        "a bounce is reported for each event of it",
        "P1",
        "stores every report under a key of its own",
        _DOOR,
        'key=f"{stored.message.id}/{recipient.number}",',
        'key=f"{notice.key}/{now}",',
        (f"{_OF_DOOR}::test_a_bounce_becomes_the_senders_report_once",),
    ),
    Mutant(
        "a stranger's transport speaks of our mail",
        "P1",
        "asks only whether the message exists",
        _DOOR,
        "return road is not None and road.transport == transport",
        "return road is not None",
        (f"{_OF_DOOR}::test_what_is_not_of_mail_that_this_transport_carried_changes_nothing[transport]",),
    ),
    Mutant(
        "a bounce before its acceptance is lost",
        "P2",
        "takes a bounce whose mail is still being handed over",
        _DOOR,
        'if notice.kind == "bounced" and recipient.state in _SILENT:',
        "if False:",
        (f"{_OF_DOOR}::test_a_bounce_before_the_answer_is_settled_comes_again",),
    ),
    Mutant(
        "a bounce of mail in doubt is lost",
        "P2",
        "takes a bounce of mail that may be counted as delivered only later",
        _DOOR,
        "_SILENT = (State.LEASED, State.IN_DOUBT)",
        "_SILENT = (State.LEASED,)",
        (f"{_OF_DOOR}::test_a_bounce_of_mail_in_doubt_comes_again_and_is_reported_then",),
    ),
    Mutant(
        "kept and never told",
        "P2",
        "ends a cancelled call between what is kept and what is told",
        _DOOR,
        "with trio.CancelScope(shield=True):",
        "with trio.CancelScope():",
        (f"{_OF_DOOR}::test_what_is_kept_is_told_also_where_the_call_is_cancelled",),
    ),
    Mutant(
        "told before it is durable",
        "P1",
        "tells what the storage may lose",
        _DOOR,
        "        await self._keep(batch, seen)\n        self._seen = seen\n        self._tell(transport, batch)\n",
        "        self._tell(transport, batch)\n        await self._keep(batch, seen)\n        self._seen = seen\n",
        (f"{_OF_DOOR}::test_where_the_store_fails_nothing_is_told_and_it_comes_again",),
    ),
    Mutant(
        "answered before it is durable",
        "P1",
        "says 200 to what the storage refused",
        _APPLICATION,
        'raise _Refused(503, "not taken", [(b"retry-after", b"%d" % _AGAIN_SECONDS)]) from None',
        "return",
        (f"{_OF_APPLICATION}::test_only_what_is_durable_is_answered_200[answer0-503]",),
    ),
    Mutant(
        "an endless request is read to its end",
        "P6",
        "lets a stranger fill the memory",
        _APPLICATION,
        "        if octets > _BODY_OCTETS:\n",
        "        if octets > _BODY_OCTETS * 4:\n",
        (f"{_OF_APPLICATION}::test_an_endless_body_is_cut_at_its_limit",),
    ),
)
