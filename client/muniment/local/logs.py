"""Structured logs on stderr: a constant message and fields, as text or JSON lines."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

_FIELDS: Final = "muniment_fields"


def configure(level: LogLevel = "info", format_: LogFormat = "text") -> None:
    """Sends this process's logs to stderr; call once, at start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if format_ == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # aiohttp reports every malformed request line of every scanner; that is the scanners' problem.
    logging.getLogger("aiohttp").setLevel(max(root.level, logging.WARNING))


def event(
    logger: logging.Logger,
    level: int,
    message: str,
    /,
    *,
    exc_info: BaseException | None = None,
    **fields: object,
) -> None:
    """Logs a constant message with fields; never pass a key, a token or a record body.

    Fields that are no JSON scalars are logged as strings; ``exc_info`` is an exception to trace.
    """
    if logger.isEnabledFor(level):
        logger.log(level, message, exc_info=exc_info, extra={_FIELDS: fields})


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, _FIELDS, {})
    return fields


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in _fields(record).items():
            if not (value is None or isinstance(value, int | float)):
                # Hostile text can hold lone surrogates, which JSON cannot carry.
                value = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
            line[name if name not in line else name + "_"] = value
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode("utf-8")


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        parts = [_time(record), f"{record.levelname:<7}", record.getMessage()]
        # repr keeps a hostile value on its line.
        parts += [f"{name}={value!r}" for name, value in _fields(record).items()]
        line = " ".join(parts)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
