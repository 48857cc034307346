"""What is wrong with a file of labelled rows: where, what, and what to do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps a row, or the whole file, from being used. It holds no text of a row.

    Attributes:
        line: number of the line, from 1, the header's included; 0: the whole file.
        what: is wrong.
        todo: what to do about it.
    """

    line: int
    what: str
    todo: str


class BadRow(ValueError):
    """A row cannot be used."""

    def __init__(self, what: str, todo: str) -> None:
        super().__init__(what)
        self.what, self.todo = what, todo

    def at(self, line: int) -> Problem:
        """Return the problem at a line."""
        return Problem(line, self.what, self.todo)
