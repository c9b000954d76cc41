"""Mutants of what keeps mail through providers from being lost, doubled unseen, bounced without proof, or shown to others."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["HTTP"]

_PLUGIN = "plugins/postroad_http"
_REPLIES = "http/test_http_replies.py"
_REQUESTS = "http/test_http_requests.py"
_BATCHES = "http/test_http_batches.py"

HTTP = (
    Mutant(
        "a provider's answer is thrown away on cancelling",
        "P4",
        "ends a request whose last octets are out, and so makes a duplicate",
        f"{_PLUGIN}/exchange.py",
        "lambda: doubt_seconds if self._body.is_committed else 0.0",
        "lambda: 0.0",
        (f"{_REPLIES}::test_cancelled_after_the_request_it_waits_for_the_answer",),
    ),
    Mutant(
        "a provider's redirect is followed",
        "P5",
        "sends the secret and the mail to wherever a reply says",
        f"{_PLUGIN}/exchange.py",
        "stream=True, follow_redirects=False",
        "stream=True, follow_redirects=True",
        (f"{_REPLIES}::test_a_redirect_is_never_followed[postmark]",),
    ),
    Mutant(
        "a success that says nothing known is taken for one",
        "P2",
        "takes a gateway's page for the provider's word",
        f"{_PLUGIN}/transport.py",
        "verdicts = [Verdict.in_doubt(said, handed_over=True)] * len(parcel.recipients)",
        "verdicts = [Verdict.accepted(said)] * len(parcel.recipients)",
        (f"{_REPLIES}::test_a_success_that_says_nothing_known_is_in_doubt",),
    ),
    Mutant(
        "a refused key does not hold the transport",
        "P2",
        "tries every message in turn with a key that is refused",
        f"{_PLUGIN}/verdicts.py",
        "frozenset({401, 402, 403, 407})",
        "frozenset({402})",
        (f"{_REPLIES}::test_refused_credentials_hold_the_transport_and_bounce_nothing",),
    ),
    Mutant(
        "a hint counts by the clock of this machine",
        "P6",
        "takes the date in Retry-After against its own clock, though the reply has the server's",
        "engine/postroad/verdict.py",
        "until - (now if begun is None else begun)",
        "until - now",
        ("test_verdict.py::test_a_clock_that_is_wrong_here_changes_nothing_where_the_reply_has_a_date",),
    ),
    Mutant(
        "a secret is shown",
        "P5",
        "quotes the first line of a secret's file in the error that refuses it",
        "engine/postroad/secret.py",
        'raise ConfigError(key, "the file\'s first line is not UTF-8") from None',
        'raise ConfigError(key, f"{line!r} is not UTF-8") from None',
        ("test_secret.py::test_what_no_header_can_bear_is_refused_and_not_shown",),
    ),
    Mutant(
        "one bad address bounces the whole request",
        "P2",
        "does not try the others alone",
        f"{_PLUGIN}/transport.py",
        "if len(recipients) == 1 or not all(map(_refuses_the_whole, verdicts)):",
        "if verdicts:",
        (f"{_REPLIES}::test_a_refused_recipient_is_refused_and_no_other[ses]",),
    ),
    Mutant(
        "a message through fields shows itself as another",
        "P5",
        "hides the other recipients without being told to",
        f"{_PLUGIN}/fields.py",
        'if settings.others == "refuse" and any(',
        "if not settings.others and any(",
        (f"{_REQUESTS}::test_others_are_neither_sent_to_nor_hidden_unless_it_is_said[postmark]",),
    ),
    Mutant(
        "a provider's echo shows the secret",
        "P5",
        "writes into log and report what the provider says back",
        f"{_PLUGIN}/transport.py",
        'verdict.reply.replace(secret, "[hidden]")',
        "verdict.reply",
        (f"{_REPLIES}::test_a_secret_that_the_provider_says_back_is_hidden[postmark]",),
    ),
    Mutant(
        "a request for several that is refused for one bounces all",
        "P2",
        "takes the refusal of a request for the refusal of each message in it",
        f"{_PLUGIN}/transport.py",
        "if became.is_of_all and any(map(_may_be_anothers, found)):",
        "if not found:",
        (f"{_BATCHES}::test_where_all_are_refused_for_one_each_is_tried_alone[postmark-413]",),
    ),
    Mutant(
        "one success is taken for that of several",
        "P2",
        "does not count whether a request's answer tells of each message in it",
        f"{_PLUGIN}/mailjet.py",
        "if said is None or texts is None or len(said.Messages) != number:",
        "if said is None or texts is None:",
        (f"{_BATCHES}::test_an_answer_is_split_into_as_many_as_were_asked_or_not_at_all[mailjet-4]",),
    ),
    Mutant(
        "whoever is cancelled cuts the answer of all in its request",
        "P4",
        "ends a request that is out, because one of several is cancelled",
        f"{_PLUGIN}/gathering.py",
        "self._nursery.start_soon(self._give_up, share, doubt_seconds)",
        "share.round.scope.cancel()",
        (f"{_BATCHES}::test_cancelled_after_the_request_each_waits_for_its_own_doubt_and_cuts_nobody[postmark]",),
    ),
    Mutant(
        "whoever is cancelled before its request went is sent all the same",
        "P2",
        "lets the last octets go of a request that somebody has left, who is then tried again",
        f"{_PLUGIN}/gathering.py",
        "        if self.scope.cancel_called:\n            raise",
        "        if False:\n            raise",
        (f"{_BATCHES}::test_nothing_goes_of_a_request_that_somebody_has_just_left",),
    ),
)
