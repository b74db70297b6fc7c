"""``muniment policy init``, ``sign`` and ``show``: versions of a policy, and who signs them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from time import time as clock
from typing import Any, Final, TypeVar

import click

from muniment.cli.common import (
    FILE,
    TIME,
    file_option,
    json_option,
    passphrase_option,
    read_signer,
    vkeys_option,
)
from muniment.errors import FormatError, InputError
from muniment.local.atomicfile import read_bounded, write_atomic
from muniment.local.vkeyfile import read_vkeys
from muniment.records.timetext import parse_time
from muniment.tlog.note import Signer, UnverifiedNote, parse_vkey, sign_note
from muniment.tlog.policy import MAX_POLICY_SIZE, show
from muniment.tlog.policyupdate import next_version, sign_version
from muniment.tlog.policyversion import (
    KeyRevocation,
    PolicyVersion,
    Root,
    SignedVersion,
    Word,
    format_chain,
    lacking,
    parse_chain,
    roots_of,
    say_lacking,
    say_time,
)

_F = TypeVar("_F", bound=Callable[..., Any])

_DRAFT: Final = ".draft"


def _options(*options: Callable[[_F], _F]) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_version_options = _options(
    click.option("--from", "start", type=TIME, metavar="TIME", help="When the window begins."),
    click.option("--until", type=TIME, metavar="TIME", help="When it ends."),
    vkeys_option(
        "--root",
        "roots",
        words="A root key, or a file with one a line: who signs this version and the next one.",
    ),
    click.option(
        "--threshold",
        type=click.IntRange(min=1),
        metavar="N",
        help="How many of them must sign. Default: more than half.",
    ),
    click.option(
        "--key",
        "key_paths",
        type=FILE,
        multiple=True,
        required=True,
        metavar="FILE",
        help="A root key's file, to sign with. Repeatable.",
    ),
    passphrase_option,
)


@click.command()
@click.argument("chain_path", metavar="CHAIN", type=FILE)
@click.option(
    "--policy",
    "policy_path",
    type=FILE,
    required=True,
    metavar="POLICY",
    help="The tlog-policy file that is the first version.",
)
@_version_options
def init(
    chain_path: Path,
    policy_path: Path,
    start: int | None,
    until: int | None,
    roots: tuple[str, ...],
    threshold: int | None,
    key_paths: tuple[Path, ...],
    passphrase_file: Path | None,
) -> None:
    """Begin a policy over time: write its first version, signed, to the new file CHAIN.

    The window begins now, unless --from says otherwise. The root keys are those of --key, unless
    --root names them. With fewer signatures than the threshold, CHAIN.draft is written instead, for
    others to sign.
    """
    if chain_path.exists():
        raise InputError(f"{chain_path}: is there already; muniment policy sign adds a version")
    if until is None:
        raise click.UsageError("--until: say when the first version ends")
    signers = _signers(key_paths, passphrase_file)
    root = _root(roots, threshold, signers)
    window = (int(clock()) if start is None else start, until)
    version = _made((), _body(policy_path), window, root, ())
    _write((sign_version(version, signers),), chain_path, None)


@click.command()
@click.argument("chain_path", metavar="CHAIN", type=FILE)
@click.option("--policy", "policy_path", type=FILE, metavar="POLICY", help="The tlog-policy file.")
@_version_options
@click.option(
    "--compromised",
    nargs=2,
    multiple=True,
    metavar="VKEY TIME",
    help="A witness's or log's key that others may have since a time. A witness's counts for "
    "nothing any more, a log's for what witnesses had seen before. Repeatable.",
)
@click.option(
    "--retired",
    nargs=2,
    multiple=True,
    metavar="VKEY TIME",
    help="A key that was given up at a time, and counts for the times before. Repeatable.",
)
@file_option("--out", words="Write here, instead of in CHAIN's place.")
def sign(
    chain_path: Path,
    policy_path: Path | None,
    start: int | None,
    until: int | None,
    roots: tuple[str, ...],
    threshold: int | None,
    key_paths: tuple[Path, ...],
    passphrase_file: Path | None,
    compromised: tuple[tuple[str, str], ...],
    retired: tuple[tuple[str, str], ...],
    out: Path | None,
) -> None:
    """Add the next version to CHAIN; or, of a draft, add a signature to its newest.

    What is not given is as in the version before: the policy, the window, the root keys. While the
    new version lacks signatures, it is written to CHAIN.draft, and CHAIN stays as it is. A draft is
    signed with --key alone, by who has read it (muniment policy show); once it is complete,
    muniment policy update CHAIN --from CHAIN.draft puts it in CHAIN's place.
    """
    chain = _read_draft(chain_path)
    signers = _signers(key_paths, passphrase_file)
    revoked = [_revoked("compromised", *one) for one in compromised]
    revoked += [_revoked("retired", *one) for one in retired]
    newest = chain[-1].version
    changes = (policy_path, start, until, threshold, *roots, *revoked)
    if all(one is None for one in changes):
        if not lacking_of(chain):
            raise InputError(
                f"{chain_path}: all is signed; for a next version say what is new in it: "
                "--policy, --until, --root, --compromised"
            )
        more = sign_note(newest.text, signers, 0)
        note = chain[-1].note.with_signatures(more.signatures)
        _write((*chain[:-1], SignedVersion(newest, note)), out or chain_path, chain_path)
        return
    if lacking_of(chain):
        raise InputError(f"{chain_path}: a draft: have its newest version signed first")
    root = _root(roots, threshold, signers) if roots else newest.root
    if threshold is not None:
        root = Root(threshold, root.keys)
    window = (newest.start if start is None else start, newest.until if until is None else until)
    body = newest.body if policy_path is None else _body(policy_path)
    version = _made(chain, body, window, root, revoked)
    _warn_of_unknown(chain, revoked)
    _write((*chain, sign_version(version, signers)), out or chain_path, None)


@click.command("show")
@click.argument("chain_path", metavar="CHAIN", type=FILE)
@json_option
def show_versions(chain_path: Path, *, as_json: bool) -> None:
    """Show the versions of a policy over time: windows, root keys, keys that no longer count.

    Also of a draft, whose newest version lacks signatures.
    """
    chain, now = _read_draft(chain_path), int(clock())
    versions = [describe_version(signed.version) for signed in chain]
    missing = lacking_of(chain)
    if as_json:
        draft = {"lacks": say_lacking(missing)} if missing else {}
        click.echo(json.dumps({"versions": versions, **draft}))
        return
    for signed, told in zip(chain, versions, strict=True):
        version = signed.version
        is_open = "in force now" if version.is_open(now) else "not in force"
        click.echo(f"Version {version.number}, {say_window(version)}: {is_open}.")
        click.echo(f"  SHA-256 {told['sha256']}")
        names = ", ".join(show(one.name) for one in version.policy.witnesses)
        click.echo(f"  Logs: {', '.join(told['origins'])}. Witnesses: {names}.")
        threshold, keys = version.root
        click.echo(f"  Root: {threshold} of {len(keys)}: {', '.join(map(str, keys))}")
        for word, vkey, since in version.revoked:
            click.echo(f"  Since {say_time(since)} {word}: {vkey}")
    if missing:
        click.echo(f"Draft: version {len(chain)} {say_lacking(missing)}.")


def _signers(paths: Sequence[Path], passphrase_file: Path | None) -> list[Signer]:
    return [read_signer(path, passphrase_file, use="root") for path in paths]


def _root(roots: tuple[str, ...], threshold: int | None, signers: Sequence[Signer]) -> Root:
    keys = read_vkeys("--root", roots) or tuple(signer.vkey for signer in signers)
    return Root(len(keys) // 2 + 1 if threshold is None else threshold, keys)


def _revoked(word: Word, vkey: str, time: str) -> KeyRevocation:
    try:
        return KeyRevocation(word, parse_vkey(vkey), parse_time(time))
    except FormatError as error:
        raise InputError(f"--{word}: {error}") from None


def _warn_of_unknown(chain: Sequence[SignedVersion], revoked: Sequence[KeyRevocation]) -> None:
    """Says which keys no version lists: a key has several spellings, and only its own counts."""
    known = {one.verifier.vkey for two in chain for one in two.version.policy.known.values()}
    for word, vkey, _ in revoked:
        if vkey not in known:
            click.echo(
                f"muniment: no version of the policy lists the {word} key {vkey}: is it spelled as "
                "in the policy's log and witness lines?",
                err=True,
            )


def _body(path: Path) -> str:
    try:
        return read_bounded(path, "policy", most=MAX_POLICY_SIZE).decode()
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8, which a version of a policy has to be") from None


def _made(
    chain: Sequence[SignedVersion],
    body: str,
    window: tuple[int, int],
    root: Root,
    revoked: Sequence[KeyRevocation],
) -> PolicyVersion:
    try:
        version = next_version(chain, body, window, root, revoked)
    except FormatError as error:
        raise InputError(f"the new version: {error}") from None
    if chain and version.start < chain[-1].version.start:
        raise InputError("--from: a window does not begin before that of the version before")
    if chain and version.start > chain[-1].version.until:
        click.echo(
            f"muniment: nothing is in force from {say_time(chain[-1].version.until)} until "
            f"{say_time(version.start)}, and everything is denied then",
            err=True,
        )
    return version


def _write(chain: Sequence[SignedVersion], path: Path, draft: Path | None) -> None:
    """Writes a chain; to a draft's own file, or beside the chain, while it lacks signatures."""
    data = format_chain(chain)
    if len(data) > MAX_POLICY_SIZE:
        raise InputError(
            f"{path}: would have {len(data)} bytes, and nobody reads a policy of more than "
            f"{MAX_POLICY_SIZE}: begin another chain, and keep this one for the proofs of its time"
        )
    try:
        parse_chain(data, is_draft=True)
    except FormatError as error:
        raise InputError(str(error)) from None
    missing = lacking_of(chain)
    if missing and draft is None:
        path = path.with_name(f"{path.name}{_DRAFT}")
    write_atomic(path, data, "policy")
    version = chain[-1].version
    click.echo(f"{path}: version {version.number}, {say_window(version)}.")
    if missing:
        click.echo(
            f"It {say_lacking(missing)}: have others sign it, muniment policy sign {path} --key …"
        )


def _read_draft(path: Path) -> tuple[SignedVersion, ...]:
    """Reads a policy chain that may lack signatures; an ``InputError`` names the file."""
    try:
        data = read_bounded(path, "policy", most=MAX_POLICY_SIZE)
        return parse_chain(data, is_draft=True)
    except FormatError as error:
        raise InputError(f"{path}: {error}") from None


def lacking_of(chain: Sequence[SignedVersion]) -> tuple[tuple[int, Root], ...]:
    """Whose signatures the newest version lacks; see `policyversion.lacking`."""
    before = chain[-2].version if len(chain) > 1 else None
    note: UnverifiedNote = chain[-1].note
    return lacking(note, roots_of(chain[-1].version, before))


def say_window(version: PolicyVersion) -> str:
    """The window in words."""
    return f"from {say_time(version.start)} until {say_time(version.until)}"


def describe_version(version: PolicyVersion) -> dict[str, Any]:
    """A version as JSON values."""
    return {
        "number": version.number,
        "from": version.start,
        "until": version.until,
        "sha256": version.digest.hex(),
        "root": {"threshold": version.root.threshold, "keys": [*map(str, version.root.keys)]},
        "revoked": [{"key": str(vkey), word: since} for word, vkey, since in version.revoked],
        "origins": list(version.policy.origins),
        "witnesses": [str(one.vkey) for one in version.policy.witnesses],
    }
