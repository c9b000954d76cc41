"""Mutants of the transports: what SMTP says and believes, TLS and logins, the octets on the wire; and mail in files."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["FILE", "SMTP"]

_SMTP = "plugins/postroad_smtp"
_SESSION = f"{_SMTP}/session.py"
_TRANSACTION = f"{_SMTP}/transaction.py"
_LEFTOVERS = f"{_SMTP}/leftovers.py"
_VERDICTS = f"{_SMTP}/verdicts.py"
_HANDSHAKE = f"{_SMTP}/handshake.py"
_GREETING = f"{_SMTP}/greeting.py"
_ENCODING = f"{_SMTP}/encoding.py"
_REPLY = f"{_SMTP}/reply.py"
_WRITER = "plugins/postroad_file/writer.py"
_OF_SESSION = "smtp/test_smtp_session.py"
_OF_FAULTS = "smtp/test_smtp_faults.py"
_OF_LEFTOVERS = "smtp/test_smtp_leftovers.py"
_OF_TLS = "smtp/test_smtp_tls.py"
_OF_LOGINS = "smtp/test_smtp_authentication.py"
_OF_ENCODING = "smtp/test_smtp_encoding.py"
_OF_REPLY = "smtp/test_smtp_reply.py"
_OF_FILE = "file/test_file_transport.py"

SMTP = (
    Mutant(
        "the dot before the mark",
        "P2 I2",
        "ends the content first and says afterwards that the hand-over begins",
        _SESSION,
        "        transaction.handover.request.committing()\n        await self._talk.send(end + group if group else end)\n",
        "        await self._talk.send(end + group if group else end)\n        transaction.handover.request.committing()\n",
        (f"{_OF_FAULTS}::test_what_was_lost_while_its_end_was_written_is_not_said_to_be_handed_over",),
    ),
    Mutant(
        "half a message is said to be handed over",
        "P1 I1",
        "says that all was written before it is",
        _SESSION,
        "        await self._talk.send(end + group if group else end)\n        transaction.is_handed_over = True",
        "        transaction.is_handed_over = True\n        await self._talk.send(end + group if group else end)",
        (f"{_OF_FAULTS}::test_what_was_lost_while_its_end_was_written_is_not_said_to_be_handed_over",),
    ),
    Mutant(
        "an unanswered dot is a deferral",
        "P2 I2",
        "takes a message whose answer was not seen as not delivered",
        _LEFTOVERS,
        "            transaction.judge(verdicts.in_doubt(trouble, remote, handed_over=transaction.is_handed_over))",
        "            transaction.judge(verdicts.of_trouble(trouble, remote))",
        (f"{_OF_FAULTS}::test_what_was_written_whole_is_said_to_be_handed_over",),
    ),
    Mutant(
        "an unanswered dot is sent again at once",
        "P2 I2",
        "puts back what may have been delivered, for another connection",
        _LEFTOVERS,
        "        if transaction.is_committed:\n",
        "        if False:\n",
        (f"{_OF_FAULTS}::test_what_was_written_whole_is_said_to_be_handed_over",),
    ),
    Mutant(
        "words behind an answer are the next answer",
        "P4 I3",
        "takes what a server said unasked for the answer to the next command",
        _SESSION,
        "        if self._talk.protocol.has_more:\n            raise out_of_turn()",
        "        pass",
        (f"{_OF_SESSION}::test_replies_behind_the_last_one_end_the_connection",),
    ),
    Mutant(
        "an acceptance before the end is believed",
        "P1 I1",
        "takes a 250 for delivered that came before the content was over",
        _TRANSACTION,
        "if step is Step.BREAK or (step is Step.DELIVERED and self.accepted and not self.is_committed):",
        "if step is Step.BREAK:",
        (f"{_OF_SESSION}::test_an_acceptance_before_the_end_of_the_content_is_not_believed",),
    ),
    Mutant(
        "one recipient's answer is another's",
        "P1 I3",
        "gives every answer to RCPT to the first recipient",
        _TRANSACTION,
        "index = self._named[self._heard]",
        "index = self._named[0]",
        (f"{_OF_FAULTS}::test_each_recipient_has_its_own_outcome",),
    ),
    Mutant(
        "recipients too many are refused",
        "P4",
        "bounces recipients for whom one transaction has no room",
        _TRANSACTION,
        "elif is_too_many(answer.reply) and (self.accepted or index in self.handover.excess):",
        "elif False:",
        (f"{_OF_FAULTS}::test_recipients_too_many_for_one_transaction_go_in_further_ones",),
    ),
    Mutant(
        "a later trouble overwrites an acceptance",
        "P2 I3",
        "forgets a verdict when trouble follows",
        f"{_SMTP}/handover.py",
        "        if self._verdicts[index] is None:\n            self._verdicts[index] = verdict",
        "        self._verdicts[index] = verdict",
        (f"{_OF_FAULTS}::test_each_recipient_has_its_own_outcome",),
    ),
    Mutant(
        "what is cancelled is sent",
        "P2",
        "leaves a request in the queue whose call was cancelled",
        f"{_SMTP}/pool.py",
        "            self._queue.remove(handover)",
        "            pass",
        (f"{_OF_SESSION}::test_cancelled_while_waiting_for_a_session_it_is_never_sent",),
    ),
    Mutant(
        "connections without a limit",
        "P6 I7",
        "opens a connection for whatever waits",
        f"{_SMTP}/pool.py",
        "while self._queue and len(self._sessions) < self._room():",
        "while self._queue:",
        (f"{_OF_SESSION}::test_connections_are_opened_up_to_the_limit",),
    ),
    Mutant(
        "4yz bounces",
        "P4",
        "takes a temporary refusal for a permanent one",
        _VERDICTS,
        "if kind == 5 and not (",
        "if kind >= 4 and not (",
        (f"{_OF_FAULTS}::test_a_reply_decides_by_its_first_digit_and_the_session_goes_on",),
    ),
    Mutant(
        "a missing login bounces",
        "P4",
        "takes a server that wants a login or TLS of us for a refusal of the message",
        _VERDICTS,
        "if kind == 5 and not (too_many or reply.code in _OURS or awaited in _BEFORE_MAIL):",
        "if kind == 5 and not (too_many or awaited in _BEFORE_MAIL):",
        (f"{_OF_FAULTS}::test_a_reply_decides_by_its_first_digit_and_the_session_goes_on",),
    ),
    Mutant(
        "plain text where TLS is required",
        "P5",
        "goes on without TLS where the server offers none",
        _HANDSHAKE,
        "        if self._terms.level is not Level.OPPORTUNISTIC:\n            raise Trouble(Kind.NO_TLS",
        "        if False:\n            raise Trouble(Kind.NO_TLS",
        ("smtp/test_smtp_tls_matrix.py::test_settings_against_faults",),
    ),
    Mutant(
        "words smuggled in before TLS",
        "P5",
        "keeps what stood behind the answer to STARTTLS, to pass for the server's own",
        _GREETING,
        "            self._protocol.has_more\n        ):",
        "            False\n        ):",
        (f"{_OF_TLS}::test_words_behind_the_220_end_the_connection",),
    ),
    Mutant(
        "what was offered before TLS is believed",
        "P5",
        "goes by extensions that anybody may have offered",
        _HANDSHAKE,
        "                self.features = self._unoffered if awaited is Awaited.HELO else read_features(reply)",
        "                self.features = self.features or read_features(reply)",
        (f"{_OF_TLS}::test_what_was_offered_before_tls_is_forgotten",),
    ),
    Mutant(
        "any certificate is good",
        "P5",
        "does not look at the certificate where it was to be verified",
        f"{_SMTP}/tls.py",
        "    if level is Level.VERIFIED:\n",
        "    if False:\n",
        ("smtp/test_smtp_tls_matrix.py::test_settings_against_faults",),
    ),
    Mutant(
        "a password in plain text",
        "P5",
        "logs in without TLS though nobody allowed that",
        _HANDSHAKE,
        "if not (self._is_secure or self._terms.login_without_tls):",
        "if False:",
        (f"{_OF_LOGINS}::test_no_login_without_tls_unless_allowed",),
    ),
    Mutant(
        "a server's success out of turn",
        "P5",
        "believes a server that speaks of success before it has proven itself",
        f"{_SMTP}/authentication.py",
        "if not self._mechanism.is_done or self._held is not None:",
        "if False:",
        (f"{_OF_LOGINS}::test_what_does_not_fit_is_given_up_and_holds_the_transport",),
    ),
    Mutant(
        "secrets in the log",
        "P5",
        "lets a server repeat our password into log and report",
        _VERDICTS,
        "reply=remote.hide(trouble.said),",
        "reply=trouble.said,",
        (f"{_OF_LOGINS}::test_a_server_that_repeats_the_password_later_does_not_get_it_into_verdicts_or_logs",),
    ),
    Mutant(
        "dots are not doubled",
        "P5 I5",
        "lets a dot that begins a line end the content",
        _ENCODING,
        'stuffed = content.replace(b"\\r\\n.", b"\\r\\n..")',
        "stuffed = content",
        (f"{_OF_ENCODING}::test_dots_are_doubled_and_the_end_is_one_dot",),
    ),
    Mutant(
        "dots at the seams are not doubled",
        "P5 I5",
        "lets a dot end the content that begins a piece of a stream",
        _ENCODING,
        'if self._at_line_start and piece.startswith(b"."):',
        "if False:",
        (f"{_OF_ENCODING}::test_every_short_content_fares_the_same_whole_and_in_pieces",),
    ),
    Mutant(
        "a bare LF on the wire",
        "P5 I5",
        "sends line ends that some server takes for others",
        _ENCODING,
        'raise emit.Unsafe("content with a bare CR or LF")',
        "pass",
        (f"{_OF_ENCODING}::test_the_nine_smuggling_sequences_never_leave",),
    ),
    Mutant(
        "a line of any length",
        "P5 I5",
        "sends lines over 998 octets",
        _ENCODING,
        '            raise emit.Unsafe(f"content with a line over {_LINE} octets")',
        "            newline = start + _LINE",
        (f"{_OF_ENCODING}::test_content_that_is_not_canonical_is_refused",),
    ),
    Mutant(
        "a content cut short gets its dot",
        "P1 I1",
        "sends what a damaged spool has left of a message as the whole",
        _ENCODING,
        "    def finish(self) -> None:\n        check_size(self._octets, self._size)\n        if",
        "    def finish(self) -> None:\n        if",
        (f"{_OF_ENCODING}::test_a_content_that_is_not_as_long_as_it_was_never_gets_its_end",),
    ),
    Mutant(
        "an address that ends its command",
        "P5 I5",
        "writes whatever is given as an address",
        f"{_SMTP}/emit.py",
        "    if not (_ANY.fullmatch(address) and address.isprintable()):",
        "    if False:",
        ("smtp/test_smtp_emit.py::test_no_parameter_of_a_command_can_hold_a_control_or_a_separator",),
    ),
    Mutant(
        "a reply without an end",
        "P6",
        "gathers the lines of a reply for ever",
        _REPLY,
        "if len(self._lines) > MAX_LINES or self._size > MAX_REPLY:",
        "if False:",
        (f"{_OF_REPLY}::test_a_reply_without_end_is_cut_off_at_its_limit",),
    ),
    Mutant(
        "an enhanced code decides",
        "P4",
        "believes the enhanced code of a reply whose class says otherwise",
        _REPLY,
        "if match is None or int(match[1]) != self.kind:",
        "if match is None:",
        (f"{_OF_REPLY}::test_an_enhanced_code_counts_only_if_its_class_is_the_replys",),
    ),
)

FILE = (
    Mutant(
        "a letter is not synced",
        "P1 I1",
        "tells that a letter is written while it may be in memory only",
        _WRITER,
        "    letter, descriptor = opened\n    try:\n        os.fsync(descriptor)",
        "    letter, descriptor = opened\n    try:\n        pass",
        (f"{_OF_FILE}::test_synced_then_announced_then_renamed_then_the_folder_synced",),
    ),
    Mutant(
        "a letter's name is not synced",
        "P1 I1",
        "tells that a letter is there while its name may be lost",
        _WRITER,
        "        _sync_for(folder, letters)\n",
        "        pass\n",
        (f"{_OF_FILE}::test_synced_then_announced_then_renamed_then_the_folder_synced",),
    ),
    Mutant(
        "a letter is written twice",
        "P2 I2",
        "does not look whether an earlier attempt has written it",
        "plugins/postroad_file/transport.py",
        "look_for_earlier=recipient.in_doubt or recipient.attempts > 0,",
        "look_for_earlier=False,",
        (f"{_OF_FILE}::test_mail_that_was_read_meanwhile_is_not_delivered_again",),
    ),
)
