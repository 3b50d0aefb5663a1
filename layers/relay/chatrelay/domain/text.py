"""Measures of text: offsets on the wire count UTF-16 code units, limits count encoded bytes. Pure.

UTF-16 is what ``String.length`` in JavaScript and Kotlin and ``utf16.count`` in Swift count.
"""

import json
import unicodedata
from itertools import takewhile

FURTHER = 64
"""How many characters after a cut decide what it cuts: no emoji is longer."""
INVISIBLE = {"Cc", "Cf", "Zl", "Zp", "Zs"}  # control, format, line ends and white space: general categories, UAX #44
HIGH_SURROGATES = ("\ud800", "\udbff")


def utf16_length(text: str) -> int:
    """Return how many UTF-16 code units `text` has."""
    return len(text.encode("utf-16-le")) // 2  # plain "utf-16" would count a byte order mark


def utf16_prefix(text: str, offset: int) -> str:
    """Return the first `offset` UTF-16 code units of `text`, without half a surrogate pair at the end."""
    return text.encode("utf-16-le")[: 2 * offset].decode("utf-16-le", "ignore")


def json_bytes(text: str) -> int:
    """Return how many bytes `text` takes inside a JSON string, without the quotes."""
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2  # frames escape only what JSON must


def truncate_to_json(text: str, limit_bytes: int) -> str:
    """Return the longest beginning of `text` that takes at most `limit_bytes` inside a JSON string."""
    text = text[:limit_bytes]  # no character takes less than a byte
    if json_bytes(text) <= limit_bytes:
        return text
    # Bisect: characters take from one to six bytes.
    shortest, longest = 0, len(text)
    while longest - shortest > 1:
        middle = (shortest + longest) // 2
        if json_bytes(text[:middle]) <= limit_bytes:
            shortest = middle
        else:
            longest = middle
    return text[:shortest]


def pasted(text: str) -> str:
    """Return `text` without the invisible characters that copying, a terminal or an editor leaves around it.

    For keys, lists and names that people paste: none of them begins or ends with a blank, a control or a format
    character.
    """
    begin, end = 0, len(text)
    while begin < end and unicodedata.category(text[begin]) in INVISIBLE:
        begin += 1
    while begin < end and unicodedata.category(text[end - 1]) in INVISIBLE:
        end -= 1
    return text[begin:end]


def join_surrogates(text: str) -> str:
    """Return `text` with every surrogate pair joined, and U+FFFD for every lone half."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def beginning(text: str, length: int) -> str:
    """Return at most the first `length` characters of `text`, without half a grapheme cluster (UAX #29) at the end."""
    if len(text) <= length:
        return text
    import regex  # here, because the import is slow and most texts are short

    # Emoji may be of many characters, so half a cluster can look like another emoji.
    ends = (found.end() for found in regex.finditer(r"\X", text[: length + FURTHER]))
    return text[: max(takewhile(lambda end: end <= length, ends), default=length)]


class SurrogateJoiner:
    """A joiner of surrogate pairs that a stream of JSON strings has cut in half.

    A delta that ends in ``\\ud83d`` and a next one that begins with ``\\ude00`` share one character; neither half can
    be encoded alone. A half whose other half never comes becomes U+FFFD.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, delta: str) -> str:
        """Return the text that is complete by now. A trailing first half waits for the next delta."""
        text = self._held + delta
        self._held = ""
        if text and HIGH_SURROGATES[0] <= text[-1] <= HIGH_SURROGATES[1]:
            text, self._held = text[:-1], text[-1]
        return join_surrogates(text)

    def flush(self) -> str:
        """Return what is left at the end of the stream: nothing, or U+FFFD."""
        rest, self._held = self._held, ""
        return join_surrogates(rest)
