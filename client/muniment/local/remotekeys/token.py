"""``pkcs11:…``: a token signs (a security module, a smart card), named by a URI of RFC 7512.

The attributes ``token``, ``serial``, ``object`` and ``id`` choose the key; ``module-path`` names
the module, and ``pin-source`` a private file with the PIN. It takes the extra ``pkcs11``.
The session stays open; after an error the next signature opens another one.
"""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from muniment.local.privatefiles import read_secret
from muniment.tlog.encoding import FormatError, MunimentError
from muniment.tlog.keys.remote import SigningError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATH: Final = ("token", "serial", "object", "id")
_QUERY: Final = ("module-path", "pin-source")
_PUBLIC_SIZE: Final = 32


def asking(spec: str, public: bytes) -> Callable[[bytes], bytes]:
    """Makes the function that has a message signed; FormatError if the URI is not understood."""
    attributes = parse_uri(spec)
    lock = Lock()  # a session does one thing at a time
    opened: list[Any] = []

    def ask(message: bytes) -> bytes:
        with lock:
            try:
                if not opened:
                    session = _open(attributes)
                    opened.append(_find(session, attributes, public)[0])
                return bytes(opened[0].sign(message, mechanism=_eddsa()))
            except MunimentError as error:
                opened.clear()
                raise SigningError(str(error)) from None
            except (_errors(), OSError) as error:
                opened.clear()
                raise SigningError(f"pkcs11: {_said(error)}") from None

    return ask


def public(spec: str) -> bytes:
    """The public half of a token's key: 32 bytes; SigningError if it has none, or several."""
    attributes = parse_uri(spec)
    try:
        with _open(attributes) as session:
            return _find(session, attributes, None)[1]
    except (_errors(), OSError) as error:
        raise SigningError(f"pkcs11: {_said(error)}") from None


def parse_uri(spec: str) -> "Mapping[str, bytes]":
    """Parses what follows ``pkcs11:`` (RFC 7512 section 2.3).

    Raises FormatError for an attribute that is not known, given twice, or missing: a module, and
    at least one that chooses the key.
    """
    path, _, query = spec.partition("?")
    found: dict[str, bytes] = {}
    for known, part in (*((_PATH, one) for one in path.split(";")),
                        *((_QUERY, one) for one in query.split("&"))):  # fmt: skip
        if not part:
            continue
        name, _, value = part.partition("=")
        if name not in known:
            raise FormatError(f"signer: pkcs11: unknown attribute {name!r}; known: " +
                              ", ".join((*_PATH, *_QUERY)))  # fmt: skip
        if name in found:
            raise FormatError(f"signer: pkcs11: {name} twice")
        found[name] = unquote_to_bytes(value)
    if "module-path" not in found:
        raise FormatError("signer: pkcs11: no module-path, which names the token's library")
    if not ({"object", "id"} & found.keys()):
        raise FormatError("signer: pkcs11: neither object nor id, which choose the key")
    return found


def _open(attributes: "Mapping[str, bytes]") -> Any:
    """A session of the token that is meant."""
    pkcs11 = _library()
    library = pkcs11.lib(attributes["module-path"].decode())
    label = attributes["token"].decode() if "token" in attributes else None
    tokens = list(library.get_tokens(token_label=label, token_serial=attributes.get("serial")))
    if len(tokens) != 1:
        raise SigningError(f"pkcs11: {len(tokens)} tokens are meant instead of one")
    source = attributes.get("pin-source")
    pin = None
    if source is not None:
        path = source.decode().removeprefix("file:").removeprefix("//")
        pin = read_secret(Path(path), "PIN").decode()
    try:
        return tokens[0].open(user_pin=pin)
    except pkcs11.exceptions.UserAlreadyLoggedIn:
        # One login counts for all sessions of a process (PKCS#11 2.40 section 5.6).
        return tokens[0].open()


def _find(
    session: Any, attributes: "Mapping[str, bytes]", public_bytes: bytes | None
) -> tuple[Any, bytes]:
    """The private key that is meant, and the bytes of its public half."""
    pkcs11 = _library()
    wanted: dict[Any, Any] = {}
    if "object" in attributes:
        wanted[pkcs11.Attribute.LABEL] = attributes["object"].decode()
    if "id" in attributes:
        wanted[pkcs11.Attribute.ID] = attributes["id"]

    def those(kind: Any) -> list[Any]:
        return list(session.get_objects({pkcs11.Attribute.CLASS: kind, **wanted}))

    keys = those(pkcs11.ObjectClass.PRIVATE_KEY)
    if len(keys) != 1:
        raise SigningError(f"pkcs11: {len(keys)} private keys are meant instead of one")
    if public_bytes is None:
        halves = those(pkcs11.ObjectClass.PUBLIC_KEY)
        if len(halves) != 1:
            raise SigningError(f"pkcs11: {len(halves)} public keys are meant instead of one")
        point = bytes(halves[0][pkcs11.Attribute.EC_POINT])
        # An OCTET STRING in DER, and in some modules the bytes alone.
        public_bytes = point[-_PUBLIC_SIZE:]
    return keys[0], public_bytes


def _eddsa() -> Any:
    return _library().Mechanism.EDDSA


def _library() -> Any:
    try:
        import pkcs11  # noqa: PLC0415 - optional
    except ImportError:
        raise SigningError("pkcs11: takes another package: install muniment[pkcs11]") from None
    return pkcs11


def _errors() -> type[Exception]:
    errors: type[Exception] = _library().exceptions.PKCS11Error
    return errors


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
