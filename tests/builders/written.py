"""What agents write, as tests say it."""

import json
from collections.abc import Iterable
from typing import get_args

from chatrelay.domain.blocks import log_of
from chatrelay.domain.cursor import Stretch
from chatrelay.domain.log import Log, Part, Piece, Written, is_text
from chatrelay.store.attribute_values import Item


def text(content: str) -> Piece:
    return Piece("message", content)


def thought(content: str) -> Piece:
    return Piece("reasoning", content)


def text_in(events: Iterable[object]) -> str:
    """The text of the answer in what an agent has told."""
    return "".join(event.content for event in events if isinstance(event, Piece) and is_text(event))


def log_in(events: Iterable[object]) -> Log:
    """The whole log, once all is told."""
    log = Log()
    for event in events:
        if isinstance(event, get_args(Written)):
            log.append(event)
    log.settle()
    return log


def log_of_texts(*texts: str) -> Log:
    """A log that has texts of an answer."""
    return log_in(map(text, texts))


def journaled(offset: int, content: str) -> list[Stretch]:
    """A stretch of an answer's text, as a worker journals it."""
    return [Stretch(0, Part("message", content), offset, content)]


def kept_text(item: Item) -> str:
    """The text of the answer in the first item of a stored reply."""
    written = json.loads(item["written"])
    return log_of(written["blocks"], [Part(*part) for part in written["parts"]]).text


def whole(log: Log) -> str:
    """All characters of a log."""
    return "".join(part.content for part in log.parts)
