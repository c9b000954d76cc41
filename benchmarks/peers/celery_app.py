"""Celery's side: the task that sends.  Runs where Celery is installed; the broker and the sink are named by the environment."""

from __future__ import annotations

import os
import smtplib

from celery import Celery

app = Celery("peers.celery_app", broker=os.environ["BENCH_BROKER"])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
)
_kept: list[smtplib.SMTP] = []


@app.task(ignore_result=True)
def send(sender: str, recipients: list[str], content: str) -> None:
    """Over this process's connection."""
    if not _kept:
        _kept.append(smtplib.SMTP("127.0.0.1", int(os.environ["BENCH_SINK"]), local_hostname="client.example"))
    _kept[0].sendmail(sender, recipients, content.encode("ascii"))
