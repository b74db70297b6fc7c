"""A report in its forms: the same bytes again, all text as text, read back by other libraries."""

import json
import re
import sys
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypdf import PdfReader

from index_tools import NOW
from muniment.errors import FormatError, InputError
from muniment.records.kinds import Entity
from muniment.report.document import visible
from muniment.report.forms import FORMS, form_of
from muniment.report.scope import scope_of
from muniment.report.seed import parse_seed, read_seed
from muniment.report.wording import document_of
from reports import HOSTILE, entries_of, replica, report_of

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("report") / "replica"
    with replica(path, entries_of(Random(3), 450)) as reader:
        return report_of(reader, scope_of(NOW - 300, NOW + 1000, silence=20))


def numbers(values: Any) -> set[int]:
    """All numbers of all figures; not the sums of rows that say what they are the sum of."""
    if isinstance(values, dict):
        own = {
            one
            for name in ("count", "allowed", "denied")
            if isinstance(one := values.get(name), int)
        }
        summed = {"leaves"} if {"allowed", "approved"} & values.keys() else set()
        others = [value for name, value in values.items() if name not in summed]
        return own.union(*map(numbers, others))
    if isinstance(values, list):
        return set().union(*[numbers(value) for value in values])
    return set()


@pytest.mark.parametrize("form", FORMS)
def test_the_same_values_are_the_same_bytes_whatever_the_clock_says(
    values: dict[str, Any], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FORMS[form](values)
    again = json.loads(json.dumps(values))
    assert FORMS[form](again) == first
    found, seed = read_seed(first)
    assert found == form
    assert seed == parse_seed(values["repeat"]["seed"])


class Elements(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_html_has_no_script_no_address_and_all_text_as_text(values: dict[str, Any]) -> None:
    page = FORMS["html"](values)
    found = Elements(page)
    names = {tag for tag, _ in found.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "use"}
    attributes = [(name, value) for _, attrs in found.tags for name, value in attrs.items()]
    assert all(not name.startswith("on") and name not in ("src", "style") for name, _ in attributes)
    assert all((value or "").startswith("#") for name, value in attributes if name == "href")
    [policy] = [attrs["content"] for tag, attrs in found.tags if attrs.get("http-equiv")]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    text = "".join(found.text)
    assert visible(HOSTILE)[:100] in text
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x1b]", text)
    [row] = [row for row in values["decisions"]["by_resource"]["rows"] if row["id"] == HOSTILE]
    assert row["leaves"]["count"]


def test_html_names_what_a_screen_reader_says(values: dict[str, Any]) -> None:
    found = Elements(FORMS["html"](values))
    tags = [tag for tag, _ in found.tags]
    assert tags.count("svg") == tags.count("desc") == tags.count("figcaption") >= 3
    assert tags.count("table") == tags.count("caption")
    assert tags.count("h1") == tags.count("main") == tags.count("nav") == 1
    assert all(attrs["role"] == "img" for tag, attrs in found.tags if tag == "svg")
    assert all("scope" in attrs for tag, attrs in found.tags if tag == "th")
    ids = [attrs["id"] for _, attrs in found.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    aims = {(attrs["href"] or "")[1:] for tag, attrs in found.tags if tag == "a"}
    assert aims <= set(ids)
    assert dict(found.tags)["html"]["lang"] == "en"


@pytest.mark.parametrize("form", ["html", "pdf"])
def test_a_reader_finds_every_number_and_every_query(values: dict[str, Any], form: str) -> None:
    data = FORMS[form](values)
    if form == "html":
        text = " ".join(Elements(data).text)
    else:
        text = "\n".join(page.extract_text() for page in PdfReader(BytesIO(data)).pages)
    words = set(re.findall(r"[0-9]+(?:,[0-9]{3})*", text))
    assert not {f"{number:,}" for number in numbers(values)} - words
    squeezed = re.sub(r"\s", "", text)
    document = document_of(values)
    assert len(document.queries) > 10
    for query in document.queries:
        shown = visible(query, 10_000).encode("latin-1", "backslashreplace").decode("latin-1")
        assert re.sub(r"\s", "", shown) in squeezed
    for section in document.sections:
        assert section.title in text


def test_pdf_says_what_it_is_and_when_the_tree_was_cosigned(values: dict[str, Any]) -> None:
    reader = PdfReader(BytesIO(FORMS["pdf"](values)))
    found = reader.metadata
    assert found.title == (
        "Report on authorization decisions: log.example/sim, 2026-09-21T14:08:20Z to "
        "2026-09-21T14:30:00Z"
    )
    assert found.creation_date.timestamp() == values["checkpoint"]["time"] == NOW
    assert [one["/Title"] for one in reader.outline if isinstance(one, dict)][:2] == [
        "Summary",
        "Decisions: who, under which policy",
    ]


def test_without_fpdf2_the_command_to_get_it_is_told(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fpdf", None)
    with pytest.raises(InputError, match=r"pip install 'muniment\[report\]'"):
        FORMS["pdf"](values)


def test_json_is_what_its_schema_says(values: dict[str, Any]) -> None:
    schema = json.loads(SCHEMA.read_bytes())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(FORMS["json"](values)))


def test_another_ending_is_refused() -> None:
    assert form_of("a.b.HTML") is FORMS["html"]
    with pytest.raises(InputError, match=r"report\.docx"):
        form_of("report.docx")


@given(data=st.binary(max_size=200), mark=st.sampled_from([b"", b"%PDF-1.3 ", b"<!DOCTYPE html>"]))
def test_what_is_no_report_is_refused_by_one_error(data: bytes, mark: bytes) -> None:
    with pytest.raises(FormatError):
        read_seed(mark + data)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("format", "muniment/report/v2"),
        ("from", "now"),
        ("from", True),
        ("to", 0),
        ("subjects", [{"type": "agent"}]),
        ("subjects", "agent"),
        ("gateways", [1]),
        ("policy", "?"),
        ("note", None),
        ("silence", -1),
        ("more", 1),
    ],
)
def test_a_seed_that_was_changed_is_refused(
    values: dict[str, Any], member: str, value: object
) -> None:
    seed = {**values["repeat"]["seed"], member: value}
    with pytest.raises(FormatError, match="no seed of a report"):
        parse_seed(seed)


def test_a_seed_holds_any_subject(tmp_path: Path) -> None:
    subjects = [Entity("a:b", '\x00\u202e</pre><pre id="seed">'), Entity("agent", HOSTILE)]
    with replica(tmp_path / "replica", entries_of(Random(4), 40)) as reader:
        found = report_of(reader, scope_of(NOW, NOW + 1000, subjects))
    for form in FORMS.values():
        _, seed = read_seed(form(found))
        assert seed.scope.subjects == tuple(sorted(subjects))
