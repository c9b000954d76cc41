"""moto's server, a stand-in for Amazon SES that another project wrote: it checks signatures, and keeps what it was sent."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import botocore.session
from real_server import RealServer, listens

_OPEN_CALLS = 4  # those of `account`: from then on moto asks who calls, and may he
_REGION = "eu-west-1"
_POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["ses:SendEmail", "ses:SendRawEmail"], "Resource": "*"}],
}


@dataclass(frozen=True)
class Account:
    access_key_id: str
    secret: str


class RealMoto(RealServer):
    """sender: the address that is verified for sending."""

    sender = "a@example.com"

    def __init__(self, folder: Path, python: Path) -> None:
        super().__init__(folder)
        self._python = python

    @property
    def url(self) -> str:
        return f"http://{self.place}"

    def argv(self) -> Sequence[str | Path]:
        return [self._python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def environment(self) -> Mapping[str, str]:
        return {"PATH": os.environ["PATH"], "INITIAL_NO_AUTH_ACTION_COUNT": str(_OPEN_CALLS)}

    def is_up(self) -> bool:
        return listens(self.port)

    @cached_property
    def account(self) -> Account:
        """A user who may send, made by Amazon's own client."""
        where = {"endpoint_url": self.url, "region_name": _REGION}
        nobody = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "none"}
        session = botocore.session.Session()
        iam, ses = (session.create_client(name, **where, **nobody) for name in ("iam", "ses"))
        iam.create_user(UserName="sender")
        iam.put_user_policy(UserName="sender", PolicyName="sends", PolicyDocument=json.dumps(_POLICY))
        key = iam.create_access_key(UserName="sender")["AccessKey"]
        ses.verify_email_identity(EmailAddress=self.sender)
        return Account(key["AccessKeyId"], key["SecretAccessKey"])

    def settings(self, **more: Any) -> dict[str, Any]:
        """A transport's table."""
        key = {"access_key_id": self.account.access_key_id, "api_key": self.account.secret}
        return {"provider": "ses", "region": _REGION, "base_url": self.url, **key, **more}

    def mails(self) -> list[dict[str, Any]]:
        """What it took: destinations, and raw_data as it came."""
        with urllib.request.urlopen(f"{self.url}/moto-api/data.json", timeout=10) as reply:
            return json.load(reply).get("ses", {}).get("RawMessage", [])
