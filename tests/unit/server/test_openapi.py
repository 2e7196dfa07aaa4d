"""`/openapi.json`: what generators and gateways read is what the server takes and gives."""

import re

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


def test_what_is_told_is_as_it_is_described(server, told):
    """The same, for whoever shows registers, rules or a history in a program of their own."""
    for path, answer in (
        ("/v1/registers", server.client.get("/v1/registers")),
        ("/v1/registers/{name}", server.client.get("/v1/registers/internal")),
        ("/v1/rules/{country}", server.client.get("/v1/rules/FR")),
        ("/v1/history", server.client.post("/v1/history", json={"number": OPPOSED, "region": "FR"})),
    ):
        (described,) = told["paths"][path].values()
        fits(told, described["responses"]["200"]["content"]["application/json"]["schema"], answer.json())


def test_the_description_is_a_page_for_people(server, told):
    """An engineer without a program for OpenAPI would have to read it as JSON; or the page would load what a closed
    network does not have."""
    answer = server.client.get("/docs")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert "script" not in answer.headers["content-security-policy"]
    loaded = re.findall(r"<(?:script|img|iframe|link|object)\b[^>]*?(?:src|href)=\"([^\"]*)\"", answer.text)
    assert [each for each in loaded if not each.startswith("data:")] == ["/page/style.css"]
    assert server.client.get("/page/style.css").status_code == 200
    for path, methods in told["paths"].items():
        assert all(f"{method.upper()} {path}" in answer.text for method in methods)
    for name in told["components"]["schemas"]:
        assert f'<h3 id="{name}">' in answer.text
    anchors = set(re.findall(r'href="#(\w+)"', answer.text))
    assert anchors <= set(re.findall(r'id="(\w+)"', answer.text))


def test_every_reason_is_described(told):
    """A generated client would fail on the day that a reason first occurs."""
    reasons = told["components"]["schemas"]["Reason"]["enum"]
    assert {"opposed", "clear", "stale-register"} <= set(reasons)
