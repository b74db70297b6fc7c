"""Cedar policies, decided in this process by cedarpy (the extra ``cedar``).

An AuthZEN entity is a Cedar one of the same type and id; its properties are attributes, over those
that the configured entities give it. The action is ``Action::"<name>"``, the context is AuthZEN's.
Numbers are those that are recorded: 10.0 is 10, which Cedar has, and 0.5 it has not.
Whatever cedarpy reports as an error, also of a single policy, is no answer: Cedar skips a policy
that fails, and one that was skipped may have been the one that forbids.
"""

import asyncio
import json
import re
import time
from contextlib import suppress
from importlib import import_module
from math import inf
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from muniment.records.artifact import PolicyRef
from muniment.records.canonical import MAX_SAFE_INTEGER
from muniment_gateway.authorities import Authority
from muniment_gateway.core.anyjson import whole_number
from muniment_gateway.engines.policyfiles import policy_of, read_files
from muniment_gateway.engines.port import (
    Evaluation,
    JsonObject,
    NoAnswerError,
    PassedOn,
    UnfitError,
)

_LOOK_AGAIN: Final = 0.1  # seconds between two looks at the files
_QUICK: Final = 0.001  # seconds of processor time, up to which no thread is worth its change
_FADING: Final = 0.95  # of the longest evaluation, with each that is shorter
_OF_POLICY: Final = re.compile(r"error while evaluating policy `[^`]*`")
_TOLD: Final = 300  # characters of an error of cedarpy


_Stamp: TypeAlias = tuple[tuple[int, ...], ...]


class _Loaded(NamedTuple):
    policies: Any  # parsed; the text, where cedarpy has no name for that
    entities: list[dict[str, Any]]
    schema: str | None
    ref: PolicyRef


class CedarEngine:
    """Policies in files, read again when these have changed."""

    def __init__(self, authority: Authority) -> None:
        """Reads nothing yet."""
        entry = authority.entry
        self._name = entry.name
        self._policies = entry.policies
        self._entities = entry.entities
        self._schema = entry.schema
        self._id = entry.policy.id if entry.policy is not None else entry.name
        # What the files of a stamp come to: policies, or words for what is wrong with them.
        self._found: tuple[_Stamp, _Loaded | str] | None = None
        self._looked = 0.0
        self._looking = asyncio.Lock()
        self._longest = inf

    async def evaluate(self, request: JsonObject, asked: PassedOn) -> Evaluation:
        """See `Engine`.

        A thread costs more than a quick evaluation; but of several that are under way each gives
        the others time, so that their records go together.
        """
        loaded = await self._load()
        if self._longest > _QUICK or not asked.is_alone:
            response = await asyncio.to_thread(self._timed, loaded, request)
        else:
            response = self._timed(loaded, request)
        return Evaluation(response, loaded.ref)

    async def policy(self) -> PolicyRef | None:
        """See `Engine`."""
        return (await self._load()).ref

    async def _load(self) -> _Loaded:
        async with self._looking:  # whoever asks meanwhile is answered by what one reads
            now = time.monotonic()
            if self._found is None or now - self._looked >= _LOOK_AGAIN:
                # Should this fail, nobody is to be asked by the files that were there before.
                found, self._found = self._found, None
                if found is None or found[0] != self._stamp():
                    found = await asyncio.to_thread(self._read)
                    self._longest = inf
                self._found, self._looked = found, now
            loaded = self._found[1]
        if isinstance(loaded, str):
            raise NoAnswerError(f"{self._name}: {loaded}")
        return loaded

    def _files(self) -> list[Path]:
        return [*self._policies, *(p for p in (self._entities, self._schema) if p is not None)]

    def _stamp(self) -> _Stamp:
        """Changes with the files; the time that is told of them alone may be anything."""
        try:
            states = [path.stat() for path in self._files()]
            return tuple((s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in states)
        except OSError as error:
            raise NoAnswerError(f"{self._name}: {error.filename}: {error.strerror}") from error

    def _read(self) -> tuple[_Stamp, _Loaded | str]:
        cedar = self._cedar()
        stamp = self._stamp()
        data = read_files(self._files())
        try:
            return stamp, self._parsed(data, cedar)
        except ValueError as error:
            return stamp, str(error)

    def _parsed(self, data: list[bytes], cedar: Any) -> _Loaded:
        """What is in the files; raises ValueError."""
        texts = [one.decode("utf-8") for one in data]
        rest = texts[len(self._policies) :]
        entities = json.loads(rest.pop(0)) if self._entities is not None else []
        if not isinstance(entities, list) or not all(isinstance(e, dict) for e in entities):
            raise ValueError("the entities are no list of objects")
        policies: Any = "\n".join(texts[: len(self._policies)])
        # Parsed once, not for each request, where cedarpy has a name for that.
        with suppress(AttributeError):
            try:
                policies = cedar.PolicySet.from_str(policies)
            except ValueError as error:
                raise ValueError(f"the policies do not parse: {_line(str(error))}") from error
        return _Loaded(policies, entities, rest[0] if rest else None, policy_of(self._id, data))

    def _cedar(self) -> Any:
        try:
            return import_module("cedarpy")  # an extra
        except ImportError as error:
            raise NoAnswerError(f"{self._name}: needs the extra `cedar`: {error}") from error

    def _timed(self, loaded: _Loaded, request: JsonObject) -> JsonObject:
        """Decides, and notes how long evaluations take of late."""
        began = time.thread_time()
        try:
            return self._decide(loaded, request)
        finally:
            took = time.thread_time() - began
            before = 0.0 if self._longest == inf else self._longest * _FADING
            self._longest = max(took, before)

    def _decide(self, loaded: _Loaded, request: JsonObject) -> JsonObject:
        subject, resource = request["subject"], request["resource"]
        question = {
            "principal": _uid(subject),
            "action": _uid({"type": "Action", "id": request["action"]["name"]}),
            "resource": _uid(resource),
            "context": _value(request.get("context", {}), "context"),
        }
        entities = _entities(loaded.entities, subject, resource)
        try:
            result = self._cedar().is_authorized(
                question, loaded.policies, entities, schema=loaded.schema
            )
        except Exception as error:  # what is no policy raises; whatever it is, it is no answer
            text = f"{self._name}: cedarpy takes no such request"
            raise UnfitError(f"{self._name}: {_line(str(error))}", text) from error
        errors = [str(one) for one in result.diagnostics.errors]
        word = result.decision.value
        if errors or word not in {"Allow", "Deny"}:
            text = _line(errors[0]) if errors else word
            raise UnfitError(f"{self._name}: {text}", f"{self._name}: {_plain(text)}")
        reasons = sorted(str(one) for one in result.diagnostics.reasons)
        response: JsonObject = {"decision": word == "Allow"}
        if reasons:
            response["context"] = {"policies": reasons}
        return response


def _plain(text: str) -> str:
    """Which policy an error of cedarpy is of; more may quote values of the request."""
    of_policy = _OF_POLICY.match(text)
    return "an error while evaluating" if of_policy is None else of_policy[0]


def _line(text: str) -> str:
    return " ".join(text.split())[:_TOLD]


def _uid(entity: JsonObject) -> str:
    return f"{entity['type']}::{_quoted(entity['id'])}"


def _quoted(text: str) -> str:
    """A Cedar string: JSON's escapes of control characters are written as Cedar has them."""
    parts: list[str] = []
    for char in text:
        if char in '"\\':
            parts.append("\\" + char)
        elif char.isprintable():
            parts.append(char)
        else:
            parts.append(f"\\u{{{ord(char):x}}}")
    return '"' + "".join(parts) + '"'


def _entities(known: list[dict[str, Any]], *asked: JsonObject) -> list[dict[str, Any]]:
    """The configured entities, with the properties of those that a request names."""
    found = list(known)
    for entity in asked:
        uid = {"type": entity["type"], "id": entity["id"]}
        attrs = _value(entity.get("properties", {}), "properties")
        at = next((n for n, one in enumerate(found) if _same(one.get("uid"), uid)), None)
        if at is None:
            found.append({"uid": uid, "attrs": attrs, "parents": []})
        elif attrs:
            found[at] = {**found[at], "attrs": {**found[at].get("attrs", {}), **attrs}}
    return found


def _same(uid: object, wanted: dict[str, str]) -> bool:
    if isinstance(uid, dict):
        uid = uid.get("__entity", uid)
    return uid == wanted


def _value(value: Any, path: str) -> Any:
    """A JSON value as Cedar has it; what Cedar has no type for is named.

    A member ``__entity`` or ``__extn`` is how Cedar's own JSON spells another type: a request that
    has one would be read as something else than it says.
    """
    value = whole_number(value)
    if value is None or isinstance(value, float):
        what = "null" if value is None else "a number that is no integer"
        raise UnfitError(f"{path}: Cedar has no {what}", f"Cedar has no {what}")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_SAFE_INTEGER:
        text = "an integer beyond ±(2^53 - 1)"
        raise UnfitError(f"{path}: {text}", text)
    if isinstance(value, list):
        return [_value(one, f"{path}[{at}]") for at, one in enumerate(value)]
    if isinstance(value, dict):
        for name in ("__entity", "__extn", "__expr"):
            if name in value:
                raise UnfitError(f"{path}: a member {name}", f"a member {name}")
        return {name: _value(one, f"{path}.{name}") for name, one in value.items()}
    return value
