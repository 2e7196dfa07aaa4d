"""`/openapi.json`: what generators and gateways read is what the server takes and gives."""

import html
import json
import re
import subprocess
from pathlib import Path

import jsonschema
import msgspec
import pytest

from stream_scrub import __version__
from stream_scrub.files.summary import REASONS
from stream_scrub.ops.health import Cause
from stream_scrub.queries import history, month_report, rules_report, verify_log
from stream_scrub.scrub import scrubbing
from stream_scrub.serve.bodies import BODY_BYTES_MAX, Kind
from stream_scrub.serve.check import PROSPECTS_MAX, CheckProspect
from stream_scrub.serve.endpoints import AcceptedRequest, HistoryQuestion
from stream_scrub.serve.evidence import VerifyQuestion
from stream_scrub.serve.page.overview import purposes
from stream_scrub.stamp import Stamp
from tests.unit.serve.conftest import CONSENTING, OPPOSED


@pytest.fixture(scope="module")
def told(server) -> dict:
    answer = server.client.get("/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def fits(told: dict, schema: dict, value: object) -> None:
    jsonschema.validate(value, {**schema, "components": told["components"]})


def resolved(told: dict, response: dict) -> dict:
    """A response of an operation, which may be named among the components."""
    if "$ref" in response:
        return told["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return response


def shape(schema: object) -> object:
    """A schema without its words."""
    if isinstance(schema, list):
        return [shape(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {name: each for name, each in schema.items() if name != "properties"}
    made = {name: shape(each) for name, each in parts.items() if name not in {"description", "title"}}
    if "properties" in schema:
        made["properties"] = {name: shape(each) for name, each in schema["properties"].items()}
    return made


def without_null(schema: dict) -> dict:
    """The shape of a stamp: a member without a value is absent, so none is null or has a default."""
    for member in schema["properties"].values():
        member.pop("default", None)
        if "anyOf" in member:
            (kind,) = [each for each in member.pop("anyOf") if each != {"type": "null"}]
            member.update(kind)
    return schema


def test_the_file_has_the_types_of_the_code(told):
    """A generated client would lack a member that the code has got, or refuse a value that it gives."""
    types = [Stamp, CheckProspect, HistoryQuestion, VerifyQuestion, AcceptedRequest, Cause]
    types += [history.LogStatus, history.HistoryAnswer, rules_report.CountryDay]
    types += [month_report.MonthReport, verify_log.LogProof]
    _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    components = msgspec.json.decode(msgspec.json.encode(components))  # a default of no days is () in Python
    made = {name: shape(schema) for name, schema in components.items()}
    made["Stamp"], made["NumberStamp"] = without_null(made["Stamp"]), without_null(made["NumberStamp"])
    del made["CountryDay"]["properties"]["where"]  # a path of the server's machine, which the API leaves out
    made["CountryDay"]["required"].remove("where")
    described = told["components"]["schemas"]
    assert described.keys() - made.keys() == {"Prospects", "StampList", "RequestBody", "ProblemDetails"}
    for name, schema in made.items():
        assert shape(described[name]) == schema, name


def test_the_file_has_the_figures_of_the_code(server, told):
    """An integrator would send batches that are refused, or take the file for another version's."""
    assert told["info"]["version"] == __version__
    assert f" {BODY_BYTES_MAX >> 20} MiB" in told["info"]["description"]
    schemas = told["components"]["schemas"]
    assert schemas["Prospects"]["properties"]["prospects"]["maxItems"] == PROSPECTS_MAX
    words = ", ".join(purposes(scrubbing.rulebook(server.settings)))
    assert f": {words}. " in schemas["CheckProspect"]["properties"]["purpose"]["description"]
    problems = {slug: each["content"] for slug, each in told["components"]["responses"].items()}
    examples = [content["application/problem+json"]["example"] for content in problems.values()]
    assert list(problems) == [kind.slug for kind in Kind]
    assert [(each["status"], each["title"]) for each in examples] == [kind.value for kind in Kind]


PATHS = {
    "/v1/check",
    "/v1/requests",
    "/v1/history",
    "/v1/report",
    "/v1/verify",
    "/v1/registers",
    "/v1/registers/{name}",
    "/v1/rules/{country}",
}


def test_the_file_is_served_as_it_is(server, told):
    """A gateway that was set up from the release's file would not know what the server gives."""
    file = Path(__file__).parents[3] / "schemas" / "openapi.json"
    assert server.client.get("/openapi.json").content == file.read_bytes()
    assert {*told["paths"]} == PATHS


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
    fits(told, resolved(told, answers["422"])["content"]["application/problem+json"]["schema"], wrong.json())


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
    anchors = set(re.findall(r'href="#([\w-]+)"', answer.text))
    assert anchors <= set(re.findall(r'id="([\w-]+)"', answer.text))


def test_every_example_is_true(server, told):
    """An integrator would write a parser for an answer that never comes, or send what is refused."""
    for path, methods in told["paths"].items():
        ((method, operation),) = methods.items()
        parameters = operation.get("parameters", ())
        assert operation["description"] and all(each["description"] for each in parameters)
        for answer in operation["responses"].values():
            for content in resolved(told, answer)["content"].values():
                fits(told, content["schema"], content["example"])
        example = None
        if "requestBody" in operation:
            body = operation["requestBody"]["content"]["application/json"]
            example = body["example"]
            fits(told, body["schema"], example)
        if operation["operationId"] == "request":
            continue  # it needs brokers
        at = path.replace("{name}", "internal").replace("{country}", "FR")
        query = [each for each in parameters if each["in"] == "query" and each.get("required")]
        params = {each["name"]: each["example"] for each in query}
        answer = server.client.request(method, at, json=example, params=params, timeout=None)
        assert answer.status_code == 200
        said = operation["responses"]["200"]["content"]["application/json"]
        fits(told, said["schema"], answer.json())
        assert {*answer.json()} == {*said["example"]}, path


EXPLAINED = ["CheckProspect", "Stamp", "RequestBody", "AcceptedRequest", "HistoryQuestion", "VerifyQuestion"]


def test_every_member_of_a_question_and_a_verdict_is_explained(told):
    """An integrator would have to guess the words that may be used, or look for another page."""
    schemas = told["components"]["schemas"]
    for name in (*EXPLAINED, "ProblemDetails"):
        members = schemas[name]["properties"]
        assert [member for member, each in members.items() if not each.get("description")] == []
    reasons = schemas["Reason"]
    for reason, text in REASONS.items():
        assert f"`{reason}` ({reason.verdict}: {text})" in reasons["description"]
    assert {*reasons["enum"]} == {*REASONS}


def test_every_command_of_the_page_works(server):
    """The first thing that an integrator copies would fail."""
    page = server.client.get("/docs").text
    commands = re.findall(r'aria-label="Command for ([^"]*)"><code>(.*?)</code>', page, re.DOTALL)
    assert len(commands) == 8
    for what, command in commands:
        if what != "Record a request":  # it needs brokers
            ran = subprocess.run(["bash", "-c", html.unescape(command)], capture_output=True, check=True)
            assert not {"errors", "detail"} & {*json.loads(ran.stdout)}
