"""A Flask application written for App Engine's Mail API, with any number of worker processes and no App Engine.

It greets whoever signs up, hears of bounces and reads incoming mail.  README.md says how to run it.
"""

from __future__ import annotations

import hmac
import os

from flask import Flask, abort, request

from postroad.appengine import apiproxy_errors, mail  # was: from google.appengine.api import mail

SENDER = "Example.com Support <support@example.com>"
SECRET = os.environ["POSTROAD_APP_SECRET"]  # what the engine says when it calls

app = Flask(__name__)


@app.post("/sign-up")
def sign_up():
    """Send a mail from a request: it is on the disk when `send_mail` returns, and the queue's business from then on."""
    address = request.form.get("email", "")
    try:
        mail.send_mail(
            sender=SENDER, to=address, subject="Your account has been approved", body=f"Dear {address}:\n\nWelcome!\n"
        )
    except mail.Error as error:  # the user's mistake, or ours: trying again would not help
        return f"{error}\n", 400
    except apiproxy_errors.Error:  # a full disk, a quota
        app.logger.exception("not accepted")
        return "Please try again later.\n", 503
    return f"{mail.last_receipt()}\n", 202  # the id, for `postroad queue show ID`


@app.before_request
def only_the_engine_calls():
    """Nobody else may tell this application that a mail bounced."""
    if request.path.startswith("/_ah/"):
        said = request.headers.get("Authorization", "")
        if not hmac.compare_digest(said.encode(), f"Bearer {SECRET}".encode()):
            abort(403)


@app.post("/_ah/bounce")
def receive_bounce():
    """A mail of ours failed.  It may be told twice, after a crash: with the same Idempotency-Key."""
    bounce = mail.BounceNotification(request.form)
    print(f"bounced: {bounce.original['to']}, {bounce.original['subject']}", flush=True)
    return "", 204


@app.post("/_ah/mail/<address>")
def receive_mail(address):
    """Mail came in for an address of ours."""
    message = mail.InboundEmailMessage(request.get_data())
    for _, payload in message.bodies("text/plain"):
        text = payload.decode()
        if isinstance(text, bytes):  # the mail names no charset
            text = text.decode("utf-8", "replace")
        print(f"received for {address}: {message.sender}, {message.subject}, {text.strip()}", flush=True)
    return "", 204
