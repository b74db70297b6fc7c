"""Records of an input's lines, as they are logged: complete, checked, without what is withheld."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from muniment.cli.contents import ContentFiles
from muniment.cli.lines import MAX_LINE, Line, LineSource
from muniment.cli.setaside import SetAside
from muniment.errors import FormatError, InputError
from muniment.gateway.gateway import Gateway
from muniment.gateway.withholding import MAX_INPUT, Prepared
from muniment.records.addenda import disclose
from muniment.records.api import Decision, parse_record
from muniment.records.commitments import shown_value

if TYPE_CHECKING:
    from collections.abc import Sequence


class Ready(NamedTuple):
    """Lines that can be logged, their records, and what is wrong with the line behind them."""

    lines: list[Line]
    prepared: Prepared
    error: InputError | None


class LineRecords:
    """Makes records of lines, for one gateway."""

    def __init__(
        self, gateway: Gateway, content: ContentFiles, aside: SetAside | None = None
    ) -> None:
        """`aside` is where lines go that cannot be logged; without it the first one is an error."""
        self._gateway = gateway
        self._content = content
        self._aside = aside

    def source(self, file: Path) -> LineSource:
        """The lines of a file; longer ones than of a record, where something is withheld."""
        return LineSource(file, MAX_LINE if self._gateway.withholding is None else MAX_INPUT)

    def prepare(self, part: list[Line]) -> Ready:
        """Makes records of some lines; of those that can be logged, up to the first error.

        Raises InputError if the content is for another line, or lines cannot be set aside.
        """
        if all(line.problem is None for line in part):
            try:
                if self._aside is None or not self._aside.knows_any_of(part):
                    records = [self._content.put(line) for line in part]
                    return Ready(part, self._gateway.prepare_withheld(records), None)
            except FormatError:
                pass  # which lines, and why, is told below
        good: list[Line] = []
        entries: list[bytes] = []
        addenda: dict[int, Sequence[bytes]] = {}
        for line in part:
            if self._aside is not None and self._aside.knows(line):
                continue
            try:
                own = self._prepare_one(line)
            except FormatError as error:
                if self._aside is None:
                    wrong = InputError(f"line {line.number}: {error}")
                    return Ready(good, Prepared(entries, addenda), wrong)
                self._aside.add(line, str(error))
                continue
            if own.addenda:
                addenda[len(entries)] = own.addenda[0]
            entries += own.entries
            good.append(line)
        if self._aside is not None:
            self._aside.sync()
        return Ready(good, Prepared(entries, addenda), None)

    def show(self, line: Line) -> dict[str, Any]:
        """What would be logged of a line, and what withheld; or its `problem`."""
        shown: dict[str, Any] = {"line": line.number}
        try:
            [entry], addenda = self._prepare_one(line)
            record = parse_record(entry)
            shown["record"] = json.loads(entry)
            if isinstance(record, Decision):
                found = disclose(record, addenda.get(0, ())).disclosed
                shown["withheld"] = {at: shown_value(one) for at, one in found.items()}
        except FormatError as error:
            shown["problem"] = str(error)
        return shown

    def _prepare_one(self, line: Line) -> Prepared:
        """Makes a line's record; FormatError, which says why, if it has none."""
        if line.problem is not None:
            raise FormatError(line.problem)
        try:
            return self._gateway.prepare_withheld([self._content.put(line)])
        except FormatError as error:
            raise FormatError(str(error).removeprefix("record 0: ")) from None
