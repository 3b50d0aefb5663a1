"""What of others' words reaches the terminal."""

import logging
import sys

import pytest

from emulator.log import Escaping, escaped


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("GET /%1b", "GET /%1b"),
        ("\x1b[2J\rReady", r"\x1b[2J\rReady"),
        ("one\ntwo\r\nthree", r"one\ntwo\r\nthree"),
        ("a\x00b\x07c\x7fd\x9b31m", r"a\x00b\x07c\x7fd\x9b31m"),
        ("\u202egpj.exe\u2066\u200f", r"\u202egpj.exe\u2066\u200f"),
        ("line\u2028paragraph\u2029next\x85line", r"line\u2028paragraph\u2029next\x85line"),
        ("half \ud83d of a pair", r"half \ud83d of a pair"),
        ("\U000e0041\U000e007f", r"\U000e0041\U000e007f"),
        ("grüße 😀\tطويل 👩‍👩‍👧", "grüße 😀\tطويل 👩‍👩‍👧"),
    ],
)
def test_a_line_stays_one_line_and_says_no_more_than_it_shows(said: str, shown: str) -> None:
    formatter = Escaping("%(message)s")
    record = logging.LogRecord("a", logging.INFO, "", 0, "http     %s", (said,), None)
    assert formatter.format(record) == f"http     {shown}"
    assert escaped(said) == shown


def test_lines_of_a_traceback_stay_lines_and_say_no_more_than_they_show() -> None:
    try:
        raise ValueError("a\x1b[2J")
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "", 0, "failed", None, sys.exc_info())
    first, *_, last = Escaping("%(message)s").format(record).splitlines()
    assert (first, last) == ("failed", r"ValueError: a\x1b[2J")
