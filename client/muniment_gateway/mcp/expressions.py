"""Expressions of mappings: the Common Expression Language (https://cel.dev/), by a library.

Whoever serves tools writes the expressions, so they are bounded before they run: in length, in what
they run over, and to one macro that loops. Selections alone (``token.?client_id``) need no library
and are evaluated here, which also gives them CEL's optional selection: the library has none.
"""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from muniment.tlog.encoding import FormatError
from muniment_gateway.core.anyjson import encode_any

MAX_EXPRESSION: Final = 1024
"""Longest expression, in characters."""

MAX_LOOPED: Final = 64 << 10
"""Most bytes of parameters, as JSON, that an expression with a loop may run over."""

MAX_LEVELS: Final = 32
"""Most brackets that an expression may have open at one time."""

INT64: Final = 2**63
"""The library would take what is beyond for a float."""

_SELECTION: Final = re.compile(
    r'(params|token)((?:\.\??[A-Za-z_][A-Za-z0-9_]*|\[\??"[^"\\]*"\]|\[\??\'[^\'\\]*\'\])*)'
)
_STEP: Final = re.compile(r"""(?:\.(\??)([A-Za-z_]\w*)|\[(\??)(?:"([^"]*)"|'([^']*)')\])""")
_LOOP: Final = re.compile(r"\.\s*(?:map|filter|all|exists|exists_one|existsOne|transform\w*)\s*\(")
_TEXT: Final = re.compile(r""""[^"\\\n]*"|'[^'\\\n]*'""")
_OF_FUNCTION: Final = re.compile(r"Function '\w+' error")
_OPTIONAL: Final = re.compile(r"\.\s*\?|\[\s*\?|\{\s*\?")


class NothingSelected:
    """What an optional selection gives that finds nothing: the member is left out."""


ABSENT: Final = NothingSelected()


class ExpressionError(FormatError):
    """An expression that cannot be evaluated, or gives no JSON."""


def evaluate(expression: str, variables: Mapping[str, Any]) -> Any:
    """The value of an expression: JSON, or ABSENT.

    Raises ExpressionError if it has none.

    Args:
        expression: The expression, without the ``$`` before it.
        variables: `params` and `token`: objects of JSON.
    """
    if len(expression) > MAX_EXPRESSION:
        raise ExpressionError(f"an expression of more than {MAX_EXPRESSION} characters")
    match = _SELECTION.fullmatch(expression.strip())
    if match is not None:
        return _selected(variables[match[1]], match[2], expression)
    _check_bounds(expression, variables)
    program = _compiled(expression)
    try:
        found = program.execute(dict(variables))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic of the library is no Exception
        raise ExpressionError(f"expression {expression!a} failed: {_kind(error)}") from None
    _check_json(found, expression)
    return found


def _selected(value: Any, steps: str, expression: str) -> Any:
    is_optional = False
    for step in _STEP.finditer(steps):
        is_optional |= bool(step[1] or step[3])
        name = step[2] or step[4] or step[5] or ""
        if not isinstance(value, Mapping) or name not in value:
            if is_optional and (isinstance(value, Mapping) or value is ABSENT):
                return ABSENT
            raise ExpressionError(f"expression {expression!a} failed: no such key {name!a}")
        value = value[name]
    return value


def _check_bounds(expression: str, variables: Mapping[str, Any]) -> None:
    bare = _TEXT.sub("''", expression)
    if _OPTIONAL.search(bare):
        raise ExpressionError(
            f"expression {expression!a}: optional selection is known only where it stands alone"
        )
    level = 0
    for character in bare:
        level += (character in "([{") - (character in ")]}")
        if level > MAX_LEVELS:
            raise ExpressionError(f"an expression with more than {MAX_LEVELS} brackets open")
    loops = len(_LOOP.findall(bare))
    if loops > 1:
        raise ExpressionError("an expression with more than one loop")
    if loops and len(encode_any(dict(variables))) > MAX_LOOPED:
        raise ExpressionError(f"an expression that loops, over more than {MAX_LOOPED} bytes")
    if not _is_exact(variables):
        raise ExpressionError("an integer beyond 64 bits, which expressions do not know")


def _is_exact(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_exact, value.values()))
    if isinstance(value, list):
        return all(map(_is_exact, value))
    return not isinstance(value, int) or -INT64 <= value < INT64


@lru_cache(maxsize=256)
def _compiled(expression: str) -> Any:
    try:
        import cel  # noqa: PLC0415 - of an extra
    except ImportError:
        raise ExpressionError(
            "declared mappings need the extra cel: pip install 'muniment[cel]'"
        ) from None
    try:
        return cel.compile(expression)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - as above
        raise ExpressionError(f"expression {expression!a}: {_line(error)}") from None


def _check_json(value: Any, expression: str) -> None:
    kind = type(value)
    if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
        return
    if kind is list:
        for one in value:
            _check_json(one, expression)
    elif kind is dict and all(type(name) is str for name in value):
        for one in value.values():
            _check_json(one, expression)
    else:
        raise ExpressionError(f"expression {expression!a} gives {kind.__name__}, which is no JSON")


def _kind(error: BaseException) -> str:
    """What kind of error the library gives: its text may quote parameters, and is recorded."""
    of_function = _OF_FUNCTION.match(str(error))
    return type(error).__name__ if of_function is None else of_function[0]


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
