"""Logs of a process that handles files whose names may be a patient's."""

import json
import logging
from collections.abc import Iterable

__all__ = ["ScrubbingFormatter", "scrub_logs"]

STANDS_FOR_IT = "(the slide)"


class ScrubbingFormatter(logging.Formatter):
    """What another formatter writes, without the texts in `hidden`; also in a trace or in JSON."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner
        self.hidden: tuple[str, ...] = ()

    def hide(self, texts: Iterable[str]) -> None:
        """These from now on, and no others."""
        escaped = {form for text in texts for form in (text, json.dumps(text)[1:-1]) if text}
        self.hidden = tuple(sorted(escaped, key=len, reverse=True))

    def format(self, record: logging.LogRecord) -> str:
        line = self._inner.format(record)
        for text in self.hidden:
            line = line.replace(text, STANDS_FOR_IT)
        return line


def scrub_logs() -> list[ScrubbingFormatter]:
    """Puts one around the formatter of each of the root's handlers."""
    formatters = []
    for handler in logging.getLogger().handlers:
        formatter = ScrubbingFormatter(handler.formatter or logging.Formatter())
        handler.setFormatter(formatter)
        formatters.append(formatter)
    return formatters
