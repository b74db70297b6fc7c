"""C2SP tlog-policy: the spec's example, and each rule of the file."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.note import ED25519, VKey
from muniment.tlog.policy import (
    MAX_GROUPS,
    MAX_LOGS,
    MAX_POLICY_SIZE,
    MAX_WITNESSES,
    Policy,
    PolicyGroup,
    PolicyLog,
    PolicyWitness,
    format_policy,
    parse_policy,
    show,
)
from policy_example import LOG, POLICY, A, B, C, W, parse
from signing import NOW, ORIGIN, log_mldsa44, log_signer, signed, witness, witness_mldsa44


def refused(text: str, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        parse(text)


class TestStructure:
    """tlog-policy "Structure"."""

    def test_example(self):
        assert POLICY.quorum == "X-and-Y"
        assert [w.name for w in POLICY.witnesses] == list(W)
        assert POLICY.groups == (
            PolicyGroup("X-witnesses", 2, ("X1", "X2", "X3")),
            PolicyGroup("Y-witnesses", 1, ("Y1", "Y2", "Y3")),
            PolicyGroup("X-and-Y", 2, ("X-witnesses", "Y-witnesses")),
        )
        assert POLICY.origins == (ORIGIN,)

    @pytest.mark.parametrize(
        ("names", "met"),
        [
            ("X1 X2 Y1", True),
            ("X1 X2 X3 Y1 Y2 Y3", True),
            ("X2 X3 Y3", True),
            ("X1 Y1 Y2 Y3", False),
            ("X1 X2 X3", False),
            ("", False),
            ("X-and-Y", False),
            ("X-witnesses Y-witnesses", False),
        ],
    )
    def test_example_quorum(self, names, met):
        """At least two of the X-witnesses and one of the Y-witnesses."""
        assert POLICY.is_met(names.split()) is met

    def test_whitespace_is_space_and_tab_only(self):
        text = f"\t log \t{log_signer().vkey}\t\n \t \n  quorum\t none  \n"
        assert parse(text) == parse(LOG + "quorum none\n")
        for odd in ("\u00a0", "\u2003", "\u0085"):
            refused(f"quorum{odd}none\n", "starts with none of")

    @pytest.mark.parametrize("comment", ["#", "# x", "  \t# quorum x", "#\xff", "#quorum none"])
    def test_comments_and_empty_lines_are_ignored(self, comment):
        assert parse(f"\n{comment}\n \nquorum none\n{comment}\n").quorum == "none"

    def test_hash_inside_a_line_is_no_comment(self):
        refused("quorum none # x\n", "wrong number of items")

    def test_each_line_is_terminated_by_newline(self):
        refused("quorum none", "newline")
        refused("", "empty")

    def test_what_editors_of_other_systems_write_is_said_in_words(self):
        refused("quorum none\n".replace("\n", "\r\n"), "line 1: ends with CR and LF")
        refused("\ufeffquorum none\n", "begins with a byte order mark")
        for encoding in ("utf-16-le", "utf-16-be"):
            with pytest.raises(FormatError, match="begins with a byte order mark"):
                parse_policy("\ufeffquorum none\n".encode(encoding))

    def test_log_and_witness_order_is_free(self):
        assert (
            parse(A + LOG + B + "quorum X1\n").witnesses
            == parse(LOG + A + B + "quorum X1\n").witnesses
        )

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("group g any X1\n" + A + "quorum g\n", "line 1: member X1 is not defined before"),
            ("group g any g\nquorum g\n", "line 1: member g"),
            ("quorum X1\n" + A, "line 1: quorum X1 is not defined before"),
            (A + "group g any X1 X2\n" + B + "quorum g\n", "line 2: member X2"),
        ],
    )
    def test_only_preceding_names(self, text, match):
        refused(text, match)

    @pytest.mark.parametrize(
        "line",
        [
            "log",
            "witness",
            "witness x",
            "group",
            "group g",
            "group g 1",
            "quorum",
            "quorum a b",
            "Log x",
            "x",
            "log a b c",
            "witness a b c d",
        ],
    )
    def test_malformed_lines(self, line):
        refused(f"\n{line}\nquorum none\n", "line 2: ")

    def test_exactly_one_quorum_line(self):
        refused(A, "no quorum")
        refused("quorum none\nquorum none\n", "line 2: a second quorum")


class TestKeys:
    """tlog-policy "Public key representation", "Defining a log", "Defining a witness"."""

    def test_log_keys(self):
        """tlog-checkpoint and signed-note: 0x01 or 0x06."""
        url = "https://log.example/ü"
        policy = parse(f"log {log_signer().vkey} {url}\nlog {log_mldsa44().vkey}\nquorum none\n")
        assert policy.logs == (
            PolicyLog(log_signer().vkey, url),
            PolicyLog(log_mldsa44().vkey),
        )
        assert policy.origins == (ORIGIN,)
        refused(f"log {witness('w').vkey}\nquorum none\n", "line 1: log key of signature type 0x04")

    def test_witness_keys(self):
        """tlog-cosignature: 0x04 or 0x06."""
        policy = parse(f"{A}witness m {witness_mldsa44('m').vkey} https://m.example\nquorum m\n")
        assert policy.witnesses[1].url == "https://m.example"
        refused(f"witness w {log_signer().vkey}\nquorum w\n", "witness key of signature type 0x01")

    def test_unknown_signature_types_are_refused(self):
        refused("log n+00000000+AgAA\nquorum none\n", "type 0x02")
        refused("witness w n+00000000+/wAA\nquorum none\n", "type 0xff")

    def test_duplicates_are_not_allowed(self):
        """The same underlying public key, even with another key name and ID."""
        renamed = VKey.of("renamed", ED25519, log_signer().vkey.public)
        refused(f"{LOG}{LOG}quorum none\n", "line 2: log key .* there already")
        refused(f"{LOG}log {renamed}\nquorum none\n", "line 2: log key renamed is there already")
        renamed = VKey.of("renamed", 4, W["X1"].vkey.public)
        refused(f"{A}witness Z {renamed}\nquorum none\n", "line 2: witness key renamed")

    def test_one_key_may_be_log_and_witness(self):
        """The rules are on log lines and on witness lines, each among themselves."""
        key = log_mldsa44().vkey
        policy = parse(f"log {key}\nwitness w {key}\nquorum w\n")
        result = policy.verify(signed(log_mldsa44()))
        assert (result.log_keys, result.cosigners) == ((key,), (("w", NOW),))

    def test_colliding_key_ids_are_refused(self):
        """Two keys of one name and ID would poison each other's notes."""
        one = log_signer().vkey
        two = structs.replace(one, public=log_signer("other").vkey.public)
        with pytest.raises(FormatError, match="has the ID"):
            Policy((PolicyLog(one), PolicyLog(two)), (), (), "none")

    def test_bad_vkey_names_the_line(self):
        refused("\nlog nonsense\nquorum none\n", "line 2: vkey")


class TestGroups:
    """tlog-policy "Defining a witness group", "Defining the quorum"."""

    @pytest.mark.parametrize(("word", "k"), [("any", 1), ("all", 3), ("1", 1), ("2", 2), ("3", 3)])
    def test_thresholds(self, word, k):
        assert parse(f"{A}{B}{C}group g {word} X1 X2 X3\nquorum g\n").groups[0].threshold == k

    @pytest.mark.parametrize(
        "k", ["0", "4", "-1", "+1", "01", "1.0", "1_0", "١", "most", "ALL", "99999999999999999999"]
    )
    def test_1_le_k_le_n_in_decimal(self, k):
        refused(f"{A}{B}{C}group g {k} X1 X2 X3\nquorum g\n", "line 4: threshold")

    def test_at_least_one_member(self):
        for word in ("any", "all", "1", "0"):
            refused(f"group g {word}\nquorum g\n", "line 1: .*no members")

    def test_a_name_is_a_member_at_most_once(self):
        """Also over different groups."""
        refused(f"{A}group g any X1 X1\nquorum g\n", "line 2: X1 is a member already")
        refused(f"{A}{B}group g any X1\ngroup h any X2 X1\nquorum g\n", "line 4: X1 is a member")
        text = f"{A}group g any X1\ngroup h any g\ngroup i any g\nquorum i\n"
        refused(text, "line 4: g is a member already")

    def test_none_is_predefined(self):
        assert parse("quorum none\n").is_met([])
        refused(f"{A}group g any X1 none\nquorum g\n", "none cannot be a member")
        refused(f"witness none {W['X1'].vkey}\nquorum none\n", "none cannot be defined")
        refused(f"{A}group none any X1\nquorum none\n", "none cannot be defined")

    def test_witnesses_and_groups_share_a_namespace(self):
        refused(f"{A}{A}quorum X1\n", "line 2: X1 is defined already")
        refused(f"{A}{B}group X2 any X1\nquorum X1\n", "line 3: X2 is defined already")

    def test_keywords_are_names(self):
        text = f"witness all {W['X1'].vkey}\ngroup any any all\nquorum any\n"
        assert parse(text).is_met(["all"])

    def test_single_witness_quorum(self):
        policy = parse(f"{LOG}{A}{B}quorum X1\n")
        assert policy.is_met(["X1"])
        assert not policy.is_met(["X2"])


class TestCharacters:
    """tlog-policy "Character set"."""

    @pytest.mark.parametrize("octet", range(256))
    def test_allowed_octets(self, octet):
        data = b"quorum none\n#" + bytes([octet]) + b"#\n"
        if octet in (0x09, 0x0A) or 0x20 <= octet <= 0x7E or octet >= 0x80:
            assert parse_policy(data)
        else:
            with pytest.raises(FormatError, match=f"line 2: octet {octet:#04x}"):
                parse_policy(data)

    @pytest.mark.parametrize(
        "name", [b"\xe2\x84\xaa", b"\xff", b"\x80\xc3", b"\xc3\xa9", b"\xed\xa0\x80"]
    )
    def test_names_must_be_opaque_octets(self, name):
        """The Kelvin sign is not the letter K; octets that are not UTF-8 are as good."""
        lines = b"".join(
            b"witness %b %b\n" % (n, str(w.vkey).encode())
            for n, w in ((b"K", W["X1"]), (name, W["X2"]))
        )
        data = lines + b"quorum " + name + b"\n"
        policy = parse_policy(data)
        assert format_policy(policy) == data
        assert not policy.is_met(["K"])
        assert policy.is_met([policy.witnesses[1].name])
        assert show(policy.quorum).encode()

    def test_key_names_are_utf8(self):
        with pytest.raises(FormatError, match="vkey"):
            parse_policy(b"log \xff+00000000+AQAA\nquorum none\n")

    def test_errors_about_odd_names_can_be_printed(self):
        policy = parse_policy(
            LOG.encode() + b"witness \xff " + str(W["X1"].vkey).encode() + b"\nquorum \xff\n"
        )
        with pytest.raises(VerificationError) as caught:
            policy.verify(signed())
        assert "\\xff" in str(caught.value)
        assert str(caught.value).encode()


class TestLimits:
    """tlog-policy "Implementation limits": at least 32 logs, witnesses and groups."""

    def test_limits(self):
        assert min(MAX_LOGS, MAX_WITNESSES, MAX_GROUPS) >= 32
        logs = [PolicyLog(log_signer(f"log{n}").vkey) for n in range(MAX_LOGS)]
        witnesses = [PolicyWitness(f"w{n}", witness(f"w{n}").vkey) for n in range(MAX_WITNESSES)]
        groups = [PolicyGroup(f"g{n}", 1, (f"w{n}",)) for n in range(MAX_GROUPS)]
        policy = Policy(tuple(logs), tuple(witnesses), tuple(groups), "g255")
        assert parse_policy(format_policy(policy)) == policy
        with pytest.raises(FormatError, match="more than 256 log"):
            replace(policy, logs=(*logs, PolicyLog(log_signer("more").vkey)))
        with pytest.raises(FormatError, match="more than 256 witness"):
            replace(policy, witnesses=(*witnesses, PolicyWitness("more", witness("more").vkey)))
        with pytest.raises(FormatError, match="more than 256 groups"):
            replace(policy, groups=(*groups, PolicyGroup("more", 1, ("g0",))))

    def test_size(self):
        text = "quorum none\n#"
        filler = "x" * (MAX_POLICY_SIZE - len(text) - 1)
        assert parse(text + filler + "\n")
        refused(text + filler + "x\n", "more than")


class TestMadeByHand:
    """What could not be read back from a file is refused when it is made."""

    @pytest.mark.parametrize(
        "name", ["", "a b", "a\tb", "a\nb", "\x7f", "\x00", "\ud800", "\udcc3\udca9"]
    )
    def test_names(self, name):
        with pytest.raises(FormatError, match="name"):
            Policy((), (PolicyWitness(name, W["X1"].vkey),), (), "none")

    @pytest.mark.parametrize("url", ["", "a b", "\n"])
    def test_urls(self, url):
        with pytest.raises(FormatError, match="URL"):
            Policy((PolicyLog(log_signer().vkey, url),), (), (), "none")

    def test_rules_hold(self):
        with pytest.raises(FormatError, match="threshold 2"):
            Policy((), (PolicyWitness("w", W["X1"].vkey),), (PolicyGroup("g", 2, ("w",)),), "g")
        with pytest.raises(FormatError, match="quorum x"):
            Policy((), (), (), "x")


NAMES = (
    st.binary(min_size=1, max_size=6)
    .map(
        lambda data: bytes(b for b in data if b > 0x20 and b != 0x7F).decode(
            "utf-8", "surrogateescape"
        )
    )
    .filter(lambda name: name not in {"", "none"})
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    names = draw(st.lists(NAMES, max_size=7, unique=True))
    count = draw(st.integers(0, len(names)))
    urls = st.none() | NAMES
    logs = [PolicyLog(log_signer(f"l{n}").vkey, draw(urls)) for n in range(draw(st.integers(0, 2)))]
    witnesses = [
        PolicyWitness(name, witness(f"w{n}").vkey, draw(urls))
        for n, name in enumerate(names[:count])
    ]
    groups, free = [], names[:count]
    for name in names[count:]:
        if free:
            members = draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
            groups.append(PolicyGroup(name, draw(st.integers(1, len(members))), tuple(members)))
            free = [item for item in free if item not in members] + [name]
    quorum = draw(st.sampled_from(["none", *free]))
    return Policy(tuple(logs), tuple(witnesses), tuple(groups), quorum)


@settings(max_examples=100)
@given(policies())
def test_policies_come_back(policy):
    assert parse_policy(format_policy(policy)) == policy
    assert hash(parse_policy(format_policy(policy))) == hash(policy)
