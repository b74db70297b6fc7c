"""The exit codes of ``muniment``: the one table, and which error gets which."""

from typing import Final

from muniment.errors import (
    BadAnswer,
    FormatError,
    InputError,
    MunimentError,
    NotPublished,
    PartlyDone,
    Refused,
    StreamError,
    Unreachable,
    VerificationError,
)

CLEAN: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
UNVERIFIED: Final = 4
MISBEHAVIOUR: Final = 5
REFUSED: Final = 6
BAD_INPUT: Final = 7
INTERRUPTED: Final = 130

TABLE: Final = (
    (CLEAN, "done; for verify and audit: everything holds"),
    (FAILED, "failed in a way that has no code of its own"),
    (USAGE, "the command line is wrong"),
    (UNREACHABLE, "the log cannot be reached, or did not answer in time"),
    (UNVERIFIED, "something does not verify: a signature, quorum, proof, tile or root"),
    (MISBEHAVIOUR, "misbehaviour is proven by what the log, or a policy's root keys, have signed"),
    (REFUSED, "the log refused, e.g. an unknown gateway or a stream conflict"),
    (BAD_INPUT, "a file or an input line cannot be used; the message names it"),
    (INTERRUPTED, "interrupted"),
)


def describe_exits() -> str:
    """The table as a paragraph of ``--help``, marked so that click does not join its lines."""
    return "\b\nExit codes:\n" + "\n".join(f"  {code:3}  {words}" for code, words in TABLE)


def advice(error: MunimentError) -> str:
    """What to do about an error whose words are the log's and cannot know of this command."""
    if isinstance(error, Refused) and error.problem.slug == "no-token":
        from muniment.http.access import READ_TOKEN_FILE  # noqa: PLC0415  # it takes ssl along

        return f"; {READ_TOKEN_FILE} names the file with a read token of the log"
    return ""


def exit_code(error: MunimentError) -> int:
    """The exit code of an error."""
    match error:
        case PartlyDone():
            return exit_code(error.error)
        case Unreachable():
            return UNREACHABLE
        case Refused() if error.is_damage:
            return UNVERIFIED
        case Refused():
            return UNREACHABLE if error.is_retriable else REFUSED
        case StreamError() | NotPublished():
            return REFUSED
        case VerificationError() | BadAnswer():
            return UNVERIFIED
        case FormatError() | InputError():
            return BAD_INPUT
        case _:
            return FAILED
