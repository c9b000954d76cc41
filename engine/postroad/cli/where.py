"""Which configuration and which spool a command means."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..appengine.environment import config_from_environ, is_smtp_queued, spool_url
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..config import Config
    from ..handover import Handover
    from ..spool import SpoolPlace

__all__ = ["DEFAULT_FILE", "Where"]

DEFAULT_FILE = "postroad.toml"


class Where:
    """What --config and --spool (or their variables) say; None where they say nothing."""

    def __init__(self, config: str | None, spool: str | None) -> None:
        self._file = config
        self._url = spool_url(spool) if spool else None

    @property
    def file(self) -> str | None:
        """The configuration file: as named, else the one in the working directory if there is one."""
        return self._file or (DEFAULT_FILE if os.path.exists(DEFAULT_FILE) else None)

    def config(self) -> Config:
        """The configuration, with the spool that was named in place of its own.  Raises ConfigError.

        Where none is named and the environment stands for a queued smarthost (`appengine/environment.py`), it is that.
        """
        from ..config import load_config

        if self.is_environ():
            return self.with_spool(config_from_environ())
        file = self.file
        if file is None:
            raise ConfigError("config", f"there is no ./{DEFAULT_FILE}; name a file with --config or POSTROAD_CONFIG")
        return self.with_spool(load_config(file))

    def is_environ(self) -> bool:
        """Whether the environment stands for a queued smarthost.  Raises ConfigError where a file is named, too."""
        if not is_smtp_queued():
            return False
        if self._file:
            raise ConfigError(
                "POSTROAD_QUEUE_SMTP", f"and --config {self._file} both say where mail goes; leave one of them out"
            )
        return True

    def with_spool(self, config: Config) -> Config:
        """The same configuration, with the spool that was named in place of its own."""
        if self._url is None:
            return config
        spool = msgspec.structs.replace(config.spool, url=self._url)
        return msgspec.structs.replace(config, spool=spool)

    def door(self) -> Handover:
        """The spool as other processes reach it.

        A spool that is named without a configuration goes by the rules that its engine wrote into it: a postroad.toml
        that happens to lie in the working directory is another's.
        """
        from ..handover import Handover

        config, place = self.config_and_place()
        return Handover(place, config)

    def config_and_place(self) -> tuple[Config | None, SpoolPlace]:
        """The spool, and its configuration if that is known."""
        config = self.config() if self._file or not self._url or self.is_environ() else None
        return config, self._place(config)

    def config_beside(self, place: SpoolPlace) -> Config | None:
        """The postroad.toml in the working directory, where it can be read and is this spool's own."""
        from ..config import load_config

        with suppress(ConfigError):
            if os.path.exists(DEFAULT_FILE) and self._place(config := load_config(DEFAULT_FILE)) == place:
                return config
        return None

    def _place(self, config: Config | None) -> SpoolPlace:
        from ..spool import SpoolPlace

        if config is not None:
            return SpoolPlace.parse(config.spool.url, config.resolved(""))
        assert self._url is not None
        return SpoolPlace.parse(self._url, Path.cwd())
