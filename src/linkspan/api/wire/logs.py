"""How output is kept: a container's log driver and its options, and the daemon's defaults of them."""

from __future__ import annotations

from collections.abc import Mapping

from linkspan.api.wire import sizes
from linkspan.api.wire.container_types import LogSetting
from linkspan.errors import InvalidRequest, NotSupported
from linkspan.model.container import LogConfig

_SIZE = "max-size"
_IDLE = (
    "max-file",
    "compress",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
    "mode",
    "max-buffer-size",
)
"""Options of json-file that are known and do nothing here (moby, daemon/logger/jsonfilelog)."""


def log_config(setting: LogSetting, warnings: list[str]) -> LogConfig:
    """Driver and options of one container; appends a warning for each option that does nothing."""
    driver = setting.type or "json-file"
    if driver not in ("json-file", "none"):
        raise NotSupported(f"log driver {driver!r} is not supported; use json-file or none")
    check_options(driver, setting.config)
    warnings += [
        f"log opt {name} has no effect: a log that reaches its max-size is begun anew"
        for name, value in setting.config.items()
        if name in _IDLE and not (name == "max-file" and value == "1")
    ]
    return LogConfig(driver=driver, options=setting.config)


def check_options(driver: str, options: Mapping[str, str]) -> None:
    """InvalidRequest for an option that the driver does not know, or a size that is none."""
    for name, value in options.items():
        if driver == "none" or name not in (_SIZE, *_IDLE):
            raise InvalidRequest(f"unknown log opt {name!r} for {driver} log driver")
        if name == _SIZE and value != "-1":
            sizes.size(value, f"log opt {name}")
