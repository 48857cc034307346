"""Where commands take their text from. Bytes that are no UTF-8 become U+FFFD, as everywhere in this package."""

import sys
from codecs import getincrementaldecoder
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from guardrail.errors import ConfigurationError

MAX_READ = 65536
"""Most bytes of one read of stdin; our own choice, a pipe's usual size."""


def read_text(text: str | None, file: Path | None) -> str:
    """Return the text of the argument, else of the file, else of stdin to its end.

    Raises:
        ConfigurationError: both an argument and a file were given.
        OSError: the file cannot be read.
    """
    if text is not None and file is not None:
        raise ConfigurationError("a text and --file were given", hint="give one of them")
    if text is not None:
        return text
    if file is not None:
        return file.read_bytes().decode("utf-8", "replace")
    return "".join(pieces(_stdin()))


def pieces(stream: BinaryIO | None = None) -> Iterator[str]:
    """Yield text as it arrives, without waiting for more; a character cut by a read comes with the next one."""
    source = stream or _stdin()
    decode = getincrementaldecoder("utf-8")("replace").decode
    while data := _read_some(source):
        if text := decode(data):
            yield text
    if rest := decode(b"", True):
        yield rest


def _stdin() -> BinaryIO:
    if sys.stdin.isatty():
        print("guardrail: reading from the terminal, end with Ctrl-D", file=sys.stderr)
    return sys.stdin.buffer


def _read_some(source: BinaryIO) -> bytes:
    read1 = getattr(source, "read1", source.read)
    data: bytes = read1(MAX_READ)
    return data
