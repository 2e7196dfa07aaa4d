"""`/openapi.json`: what generators and gateways read is what the server takes and gives."""

import jsonschema
import pytest

from tests.unit.server.conftest import CONSENTING, OPPOSED


@pytest.fixture(scope="module")
def told(server) -> dict:
    answer = server.client.get("/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def fits(told: dict, schema: dict, value: object) -> None:
    jsonschema.validate(value, {**schema, "components": told["components"]})


def test_every_path_is_described(server, told):
    """A generated client would lack a call, or make one that there is not."""
    declared = {(path, method) for path, methods in told["paths"].items() for method in methods}
    served = set()
    app = server.client
    for path, method in declared:
        answer = app.request(method, path.replace("{name}", "internal").replace("{country}", "FR"))
        assert answer.status_code not in (404, 405), path
        served.add((path, method))
    assert {path for path, _ in served} == {
        "/v1/check",
        "/v1/requests",
        "/v1/history",
        "/v1/registers",
        "/v1/registers/{name}",
        "/v1/rules/{country}",
    }


def test_answers_are_as_they_are_described(server, told):
    """A generated client would refuse the answer, and a dialler take that for a fault."""
    described = told["paths"]["/v1/check"]["post"]
    asked = described["requestBody"]["content"]["application/json"]["schema"]
    answers = described["responses"]
    questions = [
        {"number": OPPOSED},
        {"number": f"+{CONSENTING}", "region": "FR", "purpose": ["x"], "contract": True, "channel": "sms"},
        {"number": None},
        {"number": ["0611111111", "0612345678"]},
        {"prospects": [{"number": CONSENTING}, {"number": "+447400123456"}]},
    ]
    for question in questions:
        fits(told, asked, question)
        answer = server.check(question)
        fits(told, answers["200"]["content"]["application/json"]["schema"], answer.json())
    wrong = server.check({"numbr": 1})
    with pytest.raises(jsonschema.ValidationError):
        fits(told, asked, {"numbr": 1})
    fits(told, answers["422"]["content"]["application/problem+json"]["schema"], wrong.json())


def test_every_reason_is_described(told):
    """A generated client would fail on the day that a reason first occurs."""
    reasons = told["components"]["schemas"]["Reason"]["enum"]
    assert {"opposed", "clear", "stale-register"} <= set(reasons)
