"""A service changes its own signing keys by command, never by an edit that nobody meant.

The database says which keys are the service's, and refuses others at start. A new key is written to
a file, recorded in the database, and listed in the configuration; the last two in one transaction.
While two keys are listed the service signs with both (a gateway, with the first). Verifiers take
the new one up meanwhile, and then the old one is retired. Its file stays: deleting it is the
operator's decision.

Of a transaction that failed at its end nobody may know whether it was committed. The configuration
is then as it was, a new key's file stays, and the same change once more completes either case.

Of a crash between the two the configuration is ahead of the database, and a log or witness with a
key that is not recorded does not start. The same command once more sees what is listed and not
recorded, or recorded and not listed, and completes that; the opposite one takes it back.
"""

from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

from muniment.local.keyfiles import is_encrypted, new_passphrase, write_key_file
from muniment.tlog.cosignature import signer_for
from muniment.tlog.encoding import MunimentError
from muniment.tlog.keys.keyfile import Algorithm, KeyFile, generate
from muniment.tlog.note import VKey, parse_vkey
from muniment_service.config import ConfigError
from muniment_service.configedit import replace_config, with_keys
from muniment_service.signers import read_signers


class Record(Protocol):
    """Records which keys are the service's."""

    def __call__(self, keys: Sequence[VKey], changed: VKey, commit: Callable[[], None], /) -> None:
        """Records the keys, and calls `commit` inside the transaction, just before it ends.

        `changed` is the one that has come, and is among the keys, or has gone. It may be recorded,
        or gone, already. Raises MunimentError if the database is in use or cannot be changed; or
        what `commit` raises.
        """
        ...


class Own:
    """The keys that a configuration lists, with their public halves in its order."""

    def __init__(
        self,
        config: Path,
        *,
        name: str,
        use: Literal["log", "witness", "gateway"],
        keys: Sequence[Path],
        passphrase_file: Path | None,
        check: Callable[[Path], object],
        recorded: Callable[[Sequence[VKey]], Collection[str]],
        record: Record,
    ) -> None:
        """Reads them.

        Raises ConfigError if a file cannot be used.

        Args:
            config: The configuration file.
            name: The key name.
            use: What signs.
            keys: The configured key files.
            passphrase_file: Holds their passphrase; new keys get the same.
            check: Loads a configuration; raises when it cannot be used.
            recorded: Reads the vkeys that count by the service's database; it is given those that
                are listed. Raises MunimentError if the database is in use or cannot be read.
            record: Records keys in the service's database.
        """
        # First: an agent or a passphrase takes its time, in which another command may change it.
        self._before = config.read_text("utf-8")
        found = read_signers(config, name=name, keys=keys, passphrase_file=passphrase_file, use=use)
        self.vkeys = [signer.vkey for signer in found]
        self._config = config
        self._keys = keys
        self._name = name
        self._use: Literal["log", "witness", "gateway"] = use
        self._passphrase_file = passphrase_file
        self._may_be_recorded = False
        self._is_encrypted = any(map(is_encrypted, keys))
        self._check = check
        self._recorded = recorded
        self._record = record

    @cached_property
    def _in_force(self) -> Collection[str]:
        return self._recorded(self.vkeys)

    def add(self, algorithm: Algorithm) -> VKey:
        """Makes another key; the service signs with it, too, from its next start on.

        If a crash has cut off just that, it completes it: the key is the one that was made then.

        Raises MunimentError if the database is in use, or a file cannot be written or changed. The
        key's file stays if it may be recorded; `take_up` makes it sure then.
        """
        for vkey, listed in zip(self.vkeys, self._keys, strict=True):
            if str(vkey) not in self._in_force and listed.name == self._file_name(algorithm, vkey):
                self._change(self.vkeys, vkey, None, f"--key {listed}")
                return vkey
        if self._is_encrypted and self._passphrase_file is None:
            raise ConfigError(
                f"{self._config}: key_passphrase_file: needed to encrypt the new key as the others"
            )
        private = generate(algorithm)
        vkey = signer_for(self._name, private, use=self._use).vkey
        path = self._config.parent / self._file_name(algorithm, vkey)
        text = with_keys(self._config, lambda names: [*names, path.name])
        passphrase = new_passphrase(self._passphrase_file)
        write_key_file(path, KeyFile(private, vkey), passphrase)
        try:
            self._change([*self.vkeys, vkey], vkey, text, f"--key {path}")
        except BaseException:
            if not self._may_be_recorded:
                path.unlink(missing_ok=True)  # nobody has seen its public half
            raise
        return vkey

    def take_up(self, path: Path) -> VKey:
        """As `add`, with a key whose file there is: one that refers to a key kept elsewhere, say.

        Raises ConfigError too if the file cannot be used, or its key is listed already. One that is
        listed and not recorded is recorded.
        """
        (signer,) = read_signers(
            self._config,
            name=self._name,
            keys=(path,),
            passphrase_file=self._passphrase_file if is_encrypted(path) else None,
            use=self._use,
        )
        if signer.vkey in self.vkeys:
            if str(signer.vkey) in self._in_force:
                raise ConfigError(f"{path}: its key is listed already")
            self._change(self.vkeys, signer.vkey, None, f"--key {path}")
            return signer.vkey
        place = path.resolve()
        folder = self._config.parent.resolve()
        listed = place.relative_to(folder) if place.is_relative_to(folder) else place
        text = with_keys(self._config, lambda names: [*names, str(listed)])
        self._change([*self.vkeys, signer.vkey], signer.vkey, text, f"--key {path}")
        return signer.vkey

    def retire(self, key: str) -> VKey:
        """Takes a key out; the service does not sign with it from its next start on.

        The key is a vkey, or the key ID in it: eight hexadecimal digits. Raises MunimentError if it
        is neither listed nor recorded, the service would have none left that it needs, the database
        is in use, or the configuration cannot be changed.
        """
        wanted = f"{parse_vkey(key).key_id:08x}" if "+" in key else key.lower()
        known = {*self.vkeys, *map(parse_vkey, self._in_force)}
        found = [each for each in known if f"{each.key_id:08x}" == wanted]
        if len(found) != 1:
            raise ConfigError(f"{self._config}: no key with the ID {wanted} is listed")
        (gone,) = found
        text = None
        if gone in self.vkeys:
            place = self.vkeys.index(gone)
            text = with_keys(self._config, lambda names: [*names[:place], *names[place + 1 :]])
        keys = [own for own in self.vkeys if own != gone]
        self._change(keys, gone, text, f"--retire {wanted}")
        return gone

    def _file_name(self, algorithm: Algorithm, vkey: VKey) -> str:
        return f"{self._use}-{algorithm}-{vkey.key_id:08x}.pem"

    def _change(self, keys: Sequence[VKey], changed: VKey, text: str | None, again: str) -> None:
        """Records keys and lists them.

        Args:
            keys: All of them.
            changed: The one that comes or goes.
            text: The configuration that lists them; None if it does already.
            again: The option that does the same once more.
        """
        if not keys:
            raise MunimentError("this is the only key")
        unknown = [key for key in self.vkeys if str(key) not in self._in_force]
        for key in unknown:
            # With none that it knows it is another's database, which it says by itself.
            if key != changed and len(unknown) < len(self.vkeys):
                raise ConfigError(
                    f"{self._config}: the key {key.key_id:08x} is listed and not recorded: --key "
                    f"with its file records it, --retire {key.key_id:08x} takes it out"
                )
        before = self._before
        after = before if text is None else text

        def commit() -> None:
            replace_config(self._config, before, after, self._loads)
            self._may_be_recorded = True
            # K1: a crash before the transaction ends. The same once more completes it.

        try:
            self._record(keys, changed, commit)
        except BaseException as error:
            if self._may_be_recorded:
                replace_config(self._config, after, before, self._loads)
                if isinstance(error, MunimentError):
                    error.args = (
                        f"{error}; it may be recorded all the same: do it again, {again}",
                    )
            raise

    def _loads(self, path: Path) -> bool:
        self._check(path)
        return True
