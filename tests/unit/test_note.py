"""C2SP signed-note: the spec's own examples, each of its rules, and hostile bytes."""

import base64
import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_MLDSA44,
    ED25519,
    MAX_NOTE_SIZE,
    MAX_SIGNATURES,
    MAX_VKEY_SIZE,
    Ed25519Signer,
    Ed25519Verifier,
    SignatureLine,
    Signer,
    UnverifiedNote,
    Verifier,
    VKey,
    parse_note,
    parse_signature_line,
    parse_vkey,
    sign_note,
    verify_note,
)
from signing import NOW, ed25519, log_signer, witness

VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""  # noqa: E501 - the spec's example
QUASIMODO = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
"""  # noqa: E501 - the spec's example
SIG = "AAAAAQI="  # key ID 1, signature 0x02
UNICODE_SPACES = "\u0020\u0085\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"


def note(text: str, *lines: str) -> bytes:
    return (text + "\n" + "".join(line + "\n" for line in lines)).encode()


def refused(data: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        parse_note(data)


# Verifier keys that are none: of wrong parts, key IDs, or base64.
MALFORMED = """
+ ++ n+530d903a +530d903a+AAAA n+530D903A+AAAA n+30d903a+AAAA n+0530d903a+AAAA n++530d903+AAAA
n+-30d903a+AAAA n+0x0d903a+AAAA n+530d_03a+AAAA n+٥30d903a+AAAA n+530d903a+ n+530d903a+AA==
n+530d903a+AAB= n+530d903a+AAA
"""


class TestExamples:
    def test_vkey_verifies_note(self):
        """signed-note "Example": this vkey verifies this note."""
        vkey = parse_vkey(VKEY)
        assert (vkey.name, vkey.key_id, vkey.algorithm) == ("example.com/foo", 0x530D903A, ED25519)
        assert str(vkey) == VKEY
        parsed = parse_note(NOTE.encode())
        assert parsed.encode() == NOTE.encode()
        assert verify_note(parsed, [Ed25519Verifier(vkey)]).signatures == ((vkey, None),)

    def test_text_with_empty_line(self):
        """signed-note "Note": the first example, whose text holds an empty line."""
        parsed = parse_note(QUASIMODO.encode())
        assert parsed.text == QUASIMODO.partition("\n— ")[0]
        assert parsed.text.count("\n\n") == 1
        assert parsed.encode() == QUASIMODO.encode()
        (line,) = parsed.signatures
        assert line.name == "quasimodo.example/salvatore"
        assert line.key_id == 0x367BA04B
        assert len(line.signature) == 64

    def test_changed_text_does_not_verify(self):
        changed = parse_note(NOTE.replace("an example", "another").encode())
        with pytest.raises(VerificationError, match=r"example\.com/foo"):
            verify_note(changed, [Ed25519Verifier(parse_vkey(VKEY))])


class TestFormat:
    """signed-note "Format"."""

    @pytest.mark.parametrize("bad", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xe2\x80"])
    def test_must_be_valid_utf8(self, bad):
        """Notes MUST be valid UTF-8."""
        refused(b"text" + bad + b"\n\n" + f"— a {SIG}\n".encode(), "UTF-8 in line 1")

    @pytest.mark.parametrize("code", [*range(10), *range(11, 32)])
    def test_must_not_contain_control_characters(self, code):
        """Notes MUST NOT contain ASCII control characters below U+0020 other than newline."""
        refused(note(f"te{chr(code)}xt\n", f"— a {SIG}"), "control character in line 1")
        refused(note("text\n", f"— a{chr(code)} {SIG}"), "control character in line 3")

    @pytest.mark.parametrize("odd", ["\x7f", "\u0085", "\u2028", "\u200b", "\ufeff", "\U0001f600"])
    def test_other_characters_are_text(self, odd):
        """Only what is below U+0020 is refused; nothing but U+000A ends a line."""
        data = note(f"{odd}te{odd}xt{odd}\n", f"— a {SIG}")
        assert parse_note(data).encode() == data

    def test_text_ends_at_the_last_empty_line(self):
        """The text is separated by the last empty line, and includes its final newline only."""
        data = note("\n\na\n\n\nb\n\n", f"— a {SIG}")
        parsed = parse_note(data)
        assert parsed.text == "\n\na\n\n\nb\n\n"
        assert parsed.encode() == data

    def test_text_that_looks_like_signatures(self):
        data = note(f"t\n\n— a {SIG}\n", f"— b {SIG}")
        assert [line.name for line in parse_note(data).signatures] == ["b"]

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\n",
            b"\n\n",
            b"text\n",
            b"text\n\n",
            f"\n— a {SIG}\n".encode(),
            f"text\n— a {SIG}\n".encode(),
            note("text\n", f"— a {SIG}")[:-1],
            note("text\n", f"— a {SIG}", ""),
            note("text\n", f"— a {SIG}", "", "x"),
        ],
    )
    def test_needs_text_empty_line_and_signatures(self, data):
        with pytest.raises(FormatError):
            parse_note(data)

    def test_empty_text_line(self):
        data = note("\n", f"— a {SIG}")
        assert parse_note(data).text == "\n"

    @pytest.mark.parametrize(
        "line",
        [
            f"- a {SIG}",
            f"—a {SIG}",
            f"—  {SIG}",
            f"— a  {SIG}",
            f" — a {SIG}",
            f"— a {SIG} ",
            "— a",
            "— a ",
            "— ",
            "—",
            f"— a b {SIG}",
            f"— a\u00a0{SIG}",
            f"— a {SIG[:-1]}",
            f"— a {SIG}=",
            "— a AAAAAQJ=",  # padding bits
            "— a AAAAAQ==",  # four bytes: a key ID and no signature
            "— a AAAA_QI=",
            "— a AAAA\u00c0QI=",
        ],
    )
    def test_signature_lines_are_strict(self, line):
        """Em dash, space, name, space, base64 of 4+n bytes, and nothing else."""
        with pytest.raises(FormatError, match="signature 2"):
            parse_note(note("text\n", f"— a {SIG}", line))

    @pytest.mark.parametrize("space", UNICODE_SPACES)
    def test_key_names_must_not_contain_unicode_spaces(self, space):
        with pytest.raises(FormatError):
            parse_signature_line(f"— a{space}b {SIG}")
        with pytest.raises(FormatError):
            VKey.of(f"a{space}b", ED25519, bytes(32))

    @pytest.mark.parametrize("name", ["", "a+b", "+", "a b", "a\nb", "\ud800"])
    def test_key_names_must_be_non_empty_and_must_not_contain_plus(self, name):
        with pytest.raises(FormatError):
            VKey.of(name, ED25519, bytes(32))
        with pytest.raises(FormatError):
            Ed25519Signer(name, ed25519("x"))
        with pytest.raises(FormatError):
            parse_signature_line(f"— {name} {SIG}")

    def test_key_id_is_big_endian_uint32(self):
        line = parse_signature_line("— a AQIDBAU=")
        assert line == SignatureLine("a", 0x01020304, b"\x05")
        assert line.line == "— a AQIDBAU=\n"

    def test_must_accept_16_signatures(self):
        """Verifiers MUST accept at least 16 signatures, of nearly 5 kB each; SHOULD limit them."""
        big = base64.b64encode(bytes(5000)).decode()
        lines = [f"— witness{number} {big}" for number in range(MAX_SIGNATURES)]
        assert len(parse_note(note("text\n", *lines)).signatures) == MAX_SIGNATURES >= 16
        refused(note("text\n", *lines, f"— a {SIG}"), "more than 64 signatures")

    def test_size_is_bounded(self):
        filler = "x" * (MAX_NOTE_SIZE - len(note("\n", f"— a {SIG}")))
        assert parse_note(note(filler + "\n", f"— a {SIG}"))
        refused(note(filler + "x\n", f"— a {SIG}"), f"more than {MAX_NOTE_SIZE} bytes")


class TestVerify:
    """signed-note "Signatures"."""

    foo, bar = log_signer("foo"), log_signer("bar")

    def test_unknown_keys_must_be_ignored(self):
        """Also when they share the name or the ID, but not both, with a known key."""
        signed = sign_note("t\n", [self.foo], NOW)
        line = signed.signatures[0]
        strangers = [
            replace(line, name="other", signature=b"x"),
            replace(line, key_id=line.key_id ^ 1, signature=b"x"),
            SignatureLine("x", 0, b"y"),
        ]
        mixed = UnverifiedNote("t\n", (*strangers, line))
        (found,) = verify_note(mixed, [Ed25519Verifier(self.foo.vkey)]).signatures
        assert found == (self.foo.vkey, None)

    @pytest.mark.parametrize("bad", [b"x", bytes(64), bytes(65)])
    def test_known_key_must_verify_else_note_is_rejected(self, bad):
        """A known key's signature MUST be verified; if it fails, the note SHOULD be rejected."""
        signed = sign_note("t\n", [self.foo, self.bar], NOW)
        first, second = signed.signatures
        poisoned = UnverifiedNote("t\n", (first, replace(second, signature=bad)))
        verifiers = [Ed25519Verifier(self.foo.vkey), Ed25519Verifier(self.bar.vkey)]
        with pytest.raises(VerificationError, match="bar"):
            verify_note(poisoned, verifiers)
        assert verify_note(poisoned, verifiers[:1]).signatures
        # A second line of a key does not hide behind a good first one.
        twice = UnverifiedNote("t\n", (first, replace(first, signature=bad)))
        with pytest.raises(VerificationError, match="foo"):
            verify_note(twice, verifiers)

    def test_must_reject_without_known_signature(self):
        """If no signature from a known key verifies, clients MUST reject the note."""
        signed = sign_note("t\n", [self.foo], NOW)
        for verifiers in ([], [Ed25519Verifier(self.bar.vkey)]):
            with pytest.raises(VerificationError, match="no signature of a known key"):
                verify_note(signed, verifiers)

    def test_lines_of_one_key_are_reported_once(self):
        cosigner = witness("w")
        lines = [cosigner.sign("o\n0\n" + "A" * 43 + "=\n", now) for now in (5, 9, 0, 7)]
        found = verify_note(
            UnverifiedNote("o\n0\n" + "A" * 43 + "=\n", tuple(lines)), [verifier_for(cosigner.vkey)]
        )
        assert found.signatures == ((cosigner.vkey, 9),)
        assert found.text.startswith("o\n0\n")

    def test_ambiguous_verifiers_are_a_bug(self):
        twin = structs.replace(self.foo.vkey, public=self.bar.vkey.public)
        signed = sign_note("t\n", [self.foo], NOW)
        with pytest.raises(ValueError, match="two keys"):
            verify_note(signed, [Ed25519Verifier(self.foo.vkey), Ed25519Verifier(twin)])
        same = [Ed25519Verifier(self.foo.vkey), Ed25519Verifier(self.foo.vkey)]
        assert len(verify_note(signed, same).signatures) == 1

    @pytest.mark.parametrize(
        "public",
        [
            bytes(32),
            b"\x01" + bytes(31),
            b"\xff" * 32,
            b"\xee" + b"\xff" * 30 + b"\x7f",  # the non-canonical spelling of 1
            bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        ],
    )
    def test_weak_keys_verify_nothing(self, public):
        """Small-order and non-canonical keys, with the signature that such a key would accept."""
        verifier = Ed25519Verifier(VKey.of("weak", ED25519, public))
        for signature in (bytes(64), b"\x01" + bytes(63), public + bytes(32)):
            with pytest.raises(VerificationError):
                verifier.verify("text\n", signature)

    def test_malleable_signature_is_refused(self):
        """RFC 8032 section 5.1.7: S must be below the group order."""
        order = 2**252 + 27742317777372353535851937790883648493
        line = self.foo.sign("t\n", NOW)
        s = int.from_bytes(line.signature[32:], "little") + order
        forged = line.signature[:32] + s.to_bytes(32, "little")
        with pytest.raises(VerificationError):
            Ed25519Verifier(self.foo.vkey).verify("t\n", forged)

    def test_protocols(self):
        assert isinstance(self.foo, Signer)
        assert isinstance(Ed25519Verifier(self.foo.vkey), Verifier)
        with pytest.raises(ValueError, match="not an Ed25519 note key"):
            Ed25519Verifier(witness("w").vkey)


class TestVKey:
    """signed-note "Verifier keys"."""

    @pytest.mark.parametrize("algorithm", [ED25519, COSIGNATURE_ED25519, COSIGNATURE_MLDSA44])
    def test_key_id_is_the_recommended_hash(self, algorithm):
        """key ID = SHA-256(key name || 0x0A || signature type || public key)[:4]."""
        public = bytes(1312 if algorithm == COSIGNATURE_MLDSA44 else 32)
        vkey = VKey.of("näme", algorithm, public)
        digest = hashlib.sha256("näme\n".encode() + bytes([algorithm]) + public).digest()
        assert vkey.key_id == int.from_bytes(digest[:4], "big")
        assert parse_vkey(str(vkey)) == vkey

    def test_signature_types_of_one_key_have_different_ids(self):
        """If a public key is reused, a different key ID MUST be used for each type."""
        ids = {VKey.of("n", algorithm, bytes(32)).key_id for algorithm in (1, 4)}
        assert len(ids) == 2

    def test_wrong_key_id_is_refused(self):
        """The name and ID MUST match those of the signatures, so they are computed again."""
        for wrong in (VKEY.replace("530d903a", "530d903b"), VKEY.replace("com/foo", "com/bar")):
            with pytest.raises(FormatError, match="does not match"):
                parse_vkey(wrong)

    @pytest.mark.parametrize("size", [0, 31, 33, 1312])
    @pytest.mark.parametrize("algorithm", [1, 4, 6])
    def test_key_length_is_checked(self, algorithm, size):
        if (algorithm, size) == (6, 1312):
            return
        material = base64.b64encode(bytes([algorithm]) + bytes(size)).decode()
        with pytest.raises(FormatError, match="public key"):
            parse_vkey(f"n+00000000+{material}")
        with pytest.raises(FormatError, match="public key"):
            VKey.of("n", algorithm, bytes(size))

    @pytest.mark.parametrize("algorithm", [0x00, 0x02, 0x03, 0x05, 0xFA, 0xFF])
    def test_unknown_types_are_opaque(self, algorithm):
        """Their key IDs are defined elsewhere (0x02: another hash), so any is accepted."""
        material = base64.b64encode(bytes([algorithm]) + b"opaque").decode()
        text = f"n+89abcdef+{material}"
        vkey = parse_vkey(text)
        assert (vkey.algorithm, vkey.public, str(vkey)) == (algorithm, b"opaque", text)
        with pytest.raises(ValueError, match="not known"):
            VKey.of("n", algorithm, b"opaque")
        with pytest.raises(FormatError, match="unknown signature type"):
            verifier_for(vkey)

    @pytest.mark.parametrize(
        "text",
        [
            *MALFORMED.split(),
            "",
            "n n+530d903a+AAAA",
            "n+530d903a+AAAA\n",
            "n\n+530d903a+AAAA",
            "n+530d903a+" + "A" * MAX_VKEY_SIZE,
        ],
    )
    def test_malformed(self, text):
        with pytest.raises(FormatError):
            parse_vkey(text)

    def test_base64_may_hold_a_plus(self):
        text = "n+00000000+" + base64.b64encode(b"\x00\x00\x00\xfb\xef\xbe").decode()
        assert text.count("+") > 2
        assert str(parse_vkey(text)) == text


class TestBuilding:
    def test_sign_note(self):
        signed = sign_note("t\n\nu\n", [log_signer("foo"), log_signer("bar")], NOW)
        assert parse_note(signed.encode()) == signed

    @pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "\ud800\n"])
    def test_sign_note_refuses_what_cannot_be_a_note(self, text):
        with pytest.raises(FormatError):
            sign_note(text, [log_signer()], NOW)

    def test_without_signature(self):
        with pytest.raises(ValueError, match="signer"):
            sign_note("t\n", [], NOW)
        with pytest.raises(ValueError, match="a signature"):
            UnverifiedNote("t\n", ()).encode()

    def test_with_signatures_appends_what_is_new(self):
        one, two = (log_signer(name).sign("t\n", NOW) for name in ("one", "two"))
        assert UnverifiedNote("t\n", (one,)).with_signatures([two, one, two]).signatures == (
            one,
            two,
        )

    def test_with_signatures_is_bounded(self):
        more = [SignatureLine("n", number, b"s") for number in range(MAX_SIGNATURES + 1)]
        with pytest.raises(FormatError, match="more than 64"):
            UnverifiedNote("t\n", ()).with_signatures(more)


EXAMPLES = [
    NOTE.encode(),
    QUASIMODO.encode(),
    note("\n\n", f"— a {SIG}", f"— b {SIG}"),
    note("x\n", f"— a {SIG}", f"— ü {SIG}"),
]


TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.just("\n"), max_size=60)


@settings(max_examples=50)
@given(TEXTS.map(lambda text: text + "\n"))
def test_signed_texts_come_back_and_verify(text):
    signed = sign_note(text, [log_signer("foo")], NOW)
    parsed = parse_note(signed.encode())
    assert parsed == signed
    assert verify_note(parsed, [Ed25519Verifier(log_signer("foo").vkey)]).signatures


SPELLINGS = r"""
\u0041AAAAQI= AAAAAQI\u003d AAAAAQI\/ AAAAAQI=" AAAAAQI="} AAAAAQ\u00e9= AAAAAQJ= AAAAAQI
"""


@pytest.mark.parametrize("spelling", [*SPELLINGS.split(), 'AAAAAQI=" ', "AAAAAQI= "])
def test_a_signature_is_read_as_base64_and_not_as_json(spelling: str) -> None:
    refused(note("text\n", f"— name {SIG}", f"— name {spelling}"), "signature 2: not .*base64")
