"""What an engine was asked is what the log says, byte for byte, whatever spelling a client has."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import foreign
import gateway_service
import pdp
from gateway_service import Service, codes, evaluation
from log_deployment import Deployment
from muniment.records.canonical import encode_canonical
from stand import Answer, Asked, Stand

SPELLINGS = ("10.0", "1e1", "-0.0", "1e21", "0.50", "1e-6", '{"b":[1.0],"a":2e0}')


@dataclass
class SpyingPdp:
    """A gateway, and the PDP behind it, which keeps what it is sent."""

    service: Service
    stand: Stand

    def asked(self) -> list[bytes]:
        """What the PDP was sent since this was last asked."""
        found = [one.body for one in self.stand.asked if one.body]
        self.stand.asked.clear()
        return found


@pytest.fixture(scope="module")
def behind(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpyingPdp]:
    def respond(asked: Asked) -> Answer:
        return pdp.answer(stand.url)(asked)

    with Stand(respond).serve() as stand:
        service = gateway_service.made(
            deployment,
            tmp_path_factory.mktemp("numbers") / "gateway",
            f'[[authority]]\nname = "pdp"\nkind = "authzen"\nurl = "{stand.url()}"\n',
            name="gw.example/numbers",
        )
        with service.running():
            yield SpyingPdp(service, stand)


def body(value: str) -> bytes:
    return (
        b'{"subject":{"type":"user","properties":{"n":N},"id":"alice"},"action":{"name":"read"},'
        b'"resource":{"type":"record","id":"record-1"},"context":{"z":N,"a":N}}'
    ).replace(b"N", value.encode())


@pytest.mark.parametrize("value", SPELLINGS)
def test_a_pdp_is_sent_the_request_of_the_record(behind: SpyingPdp, value: str) -> None:
    behind.asked()
    answer = behind.service.evaluate(body(value))
    assert answer["decision"] is True
    record = behind.service.any_record(answer["context"]["muniment"]["index"])
    [asked] = behind.asked()
    assert asked == encode_canonical(record["request"])
    assert value == "0.50" or b":%s," % value.encode() not in asked


def test_so_it_is_for_each_of_a_batch_and_for_searches(behind: SpyingPdp) -> None:
    behind.asked()
    one = body("1e1")
    batch = one[:-1] + b',"evaluations":[{"context":{"n":2.0}},{"context":{"n":-0.0}},{}]}'
    answers = behind.service.post("/access/v1/evaluations", batch).json["evaluations"]
    records = [
        behind.service.any_record(each["context"]["muniment"]["index"])["request"]
        for each in answers
    ]
    asked = behind.asked()
    assert sorted(asked) == sorted(map(encode_canonical, records))
    assert [b'"context":{"n":%d}' % n in b"".join(asked) for n in (2, 0)] == [True, True]
    found = behind.service.post("/access/v1/search/subject", one).json
    assert found["context"]["muniment"]["permission"] is False
    [searched] = behind.asked()
    assert b'"context":{"a":10,"z":10}' in searched


def test_what_no_record_can_hold_is_asked_of_nobody(behind: SpyingPdp) -> None:
    behind.asked()
    for value in ("9007199254740992", "1e20", "-12345678901234567890"):
        assert codes(behind.service.evaluate(body(value))) == ["authorization_discontinuity"]
    assert behind.service.post("/access/v1/evaluation", body('{"a":1,"a":2}')).status == 400
    assert behind.asked() == []


REGO = """\
package authz

allow if sprintf("%v", [input.context.n]) == input.context.text

full := {"allow": json.marshal(input.n) == input.text}
"""


def test_an_opa_that_tells_texts_of_a_number_apart_decides_on_the_recorded_one(
    deployment: Deployment, tmp_path: Path
) -> None:
    policy = tmp_path / "authz.rego"
    policy.write_text(REGO)
    with foreign.opa(policy, log=tmp_path / "opa.log") as url:
        tables = (
            f'[[authority]]\nname = "opa"\nkind = "opa"\nurl = "{url}/v1/data/authz/allow"\n'
            f'[opa]\nurl = "{url}"\n[[opa.rule]]\npath = "authz/full"\ndecision = "/allow"\n'
        )
        service = gateway_service.made(
            deployment, tmp_path / "gateway", tables, name="gw.example/spelt"
        )

        def told(number: str, text: str) -> tuple[Any, Any]:
            context = f'{{"n":{number},"text":"{text}"}}'
            request = evaluation(context="CONTEXT")
            spelt = encode_canonical(request).replace(b'"CONTEXT"', context.encode())
            answer = service.post("/v1/data/authz/full", b'{"input":%s}' % context.encode())
            return service.evaluate(spelt)["decision"], answer.json["result"]["allow"]

        with service.running():
            for number, text in (("10.0", "10"), ("1e1", "10"), ("-0.0", "0"), ("10", "10")):
                assert told(number, text) == (True, True), number
            assert told("10.0", "10.0") == (False, False)
