"""Content for a record that is no JSON: files whose bytes are withheld, and so may be anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from muniment.cli.lines import Line
from muniment.errors import FormatError, InputError
from muniment.local.atomicfile import read_bounded
from muniment.records.addenda import pointer_of, tokens_of
from muniment.records.canonical import parse_json
from muniment.records.commitments import MAX_ADDENDUM
from muniment.records.preparation import RecordInput
from muniment.records.submission import decision_of_evaluation


class ContentFiles:
    """What `--content` gives: a file for each pointer of the one record of the input."""

    def __init__(self, given: Sequence[str]) -> None:
        """Reads the files of ``POINTER=FILE``; ``InputError`` if one cannot be read."""
        self._given: list[tuple[tuple[str, ...], bytes]] = []
        self._line = 0
        for text in given:
            pointer, equals, name = text.rpartition("=")
            if not (equals and pointer and name):
                raise InputError(f"--content {text}: expected POINTER=FILE")
            try:
                tokens = tokens_of(pointer, "--content ")
            except FormatError as error:
                raise InputError(str(error)) from None
            self._given.append((tokens, read_bounded(Path(name), "content", most=MAX_ADDENDUM)))

    def put(self, line: Line) -> RecordInput:
        """The record of a line with the content in its places; the line itself without any.

        Raises:
            InputError: If this is another line than the first.
            FormatError: If the record has no such object, or has the member already.
        """
        if not self._given:
            return line.data
        if self._line not in {0, line.number}:
            raise InputError(f"line {line.number}: --content goes with one record")
        self._line = line.number
        members: Any = parse_json(line.data, "record", most=len(line.data))
        if not isinstance(members, dict):
            return line.data  # whoever reads it next says what is wrong with it
        if "kind" not in members:
            members = decision_of_evaluation(members)
        for tokens, content in self._given:
            inner: Any = members
            for token in tokens[:-1]:
                inner = inner.get(token) if isinstance(inner, dict) else None
            if not isinstance(inner, dict) or tokens[-1] in inner:
                raise FormatError(
                    f"{pointer_of(tokens)}: the record has no object for this, or has it already"
                )
            inner[tokens[-1]] = content
        record: dict[str, Any] = members
        return record
