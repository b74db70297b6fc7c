"""Making a report again, and saying what differs."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from muniment.errors import FormatError, InputError, VerificationError
from muniment.index.reader import IndexReader
from muniment.report.build import basis_again, build_report, program
from muniment.report.forms import FORMS
from muniment.report.queries import time_text
from muniment.report.seed import read_seed
from muniment.tlog.policy import CosignedCheckpoint, Policy, show

_MAX_TOLD: Final = 10  # differences that are told


def check_report(
    data: bytes,
    name: str,
    reader: IndexReader,
    policy: Policy,
    reading: Callable[[int, int], None],
    relating: Callable[[int, int], None],
) -> str:
    """Makes a report again from a replica, and compares it to the byte.

    Args:
        data: The report, in any of its forms.
        name: What it is called.
        reader: The replica, at least as large as the report's tree.
        policy: Has to accept the checkpoint that the report carries.
        reading: Told of leaves; see `build.build_report`.
        relating: Told of partitions.

    Returns:
        What to say when it is the same, also of what the reader's policy sees otherwise.

    Raises:
        InputError: If the file is no report, or the replica cannot be used for it.
        VerificationError: If the checkpoint is not accepted, the leaves are not those of its tree,
            or the report says anything else than they do.
    """
    try:
        form, seed = read_seed(data)
        basis = basis_again(reader, policy, seed)
    except FormatError as error:
        raise InputError(f"{name}: {error}") from None
    made = build_report(basis, reading=reading, relating=relating)
    again = FORMS[form](made)
    head = basis.checkpoint
    if again == data:
        said = (
            f"{name}: the same, byte for byte, made again from the {head.size} leaves of "
            f"{head.origin} that the checkpoint vouches for."
        )
        return " ".join((said, *_read_otherwise(head, policy.verify(head.signed))))
    told = "; ".join(_told(form, data, made))
    by = seed.made_by
    other = f" (it was made by {by}, this is {program()})" if by != program() else ""
    raise VerificationError(f"{name}: is not what the log says{other}: {told}")


def _read_otherwise(stated: CosignedCheckpoint, own: CosignedCheckpoint) -> Iterator[str]:
    """What the report's policy makes of the checkpoint, and the reader's does not.

    Who made the report chose its policy: which witnesses are in it, what they are called, and whose
    times make that of the tree, until which outcomes and silences are looked for.
    """
    if stated.time() != own.time():
        times = [time_text(one.time()) if one.time() else "none" for one in (stated, own)]
        yield f"Its time of the tree is {times[0]}; by your policy it is {times[1]}."
    yours = set(_witnesses(own))
    if others := [one for one in _witnesses(stated) if one not in yours]:
        yield f"It names witnesses that your policy does not have so: {', '.join(others)}."


def _witnesses(cosigned: CosignedCheckpoint) -> list[str]:
    """The witnesses that cosigned, each as its policy calls it, with its key."""
    vkeys = {one.name: one.vkey for one in cosigned.policy.witnesses}
    return [f"{show(name)} ({vkeys[name]})" for name, _ in cosigned.cosigners]


def _told(form: str, data: bytes, made: dict[str, Any]) -> Iterator[str]:
    if form != "json":
        yield "its bytes differ; a report as JSON tells which figures"
        return
    found = list(differences(json.loads(data), made))
    yield from found[:_MAX_TOLD]
    if not found:
        yield "its figures are the same, and written otherwise"
    if len(found) > _MAX_TOLD:
        yield f"and {len(found) - _MAX_TOLD} more"


def differences(stated: Any, made: Any, path: str = "") -> Iterator[str]:
    """Where two JSON values differ: JSON pointer, what is stated, and what was made."""
    if isinstance(stated, dict) and isinstance(made, dict):
        for member in [*made, *(member for member in stated if member not in made)]:
            if member not in stated:
                yield f"{path}/{member} is missing"
            elif member not in made:
                yield f"{path}/{member} is not to be there"
            else:
                yield from differences(stated[member], made[member], f"{path}/{member}")
    elif isinstance(stated, list) and isinstance(made, list) and len(stated) == len(made):
        for at, (one, other) in enumerate(zip(stated, made, strict=True)):
            yield from differences(one, other, f"{path}/{at}")
    elif stated != made or type(stated) is not type(made):
        yield f"{path} says {_short(stated)}, the log says {_short(made)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
