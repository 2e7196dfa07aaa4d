"""The kits' clients of the check API: a verdict or an error, whatever server, network and proxies do."""

import json
import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
import trustme

from stream_scrub.serve import tokens
from tests.kafka.broker import free_ports
from tests.support.fakes.web import Web
from tests.support.kits import CHECKING, KITS, Program, driver_of
from tests.support.running.worker import SCRIPT
from tests.support.waiting import wait_until
from tests.unit.serve.test_client import allowed, answering, http, no_verdicts

pytestmark = pytest.mark.process

CONSENTING, OPPOSED, NOBODY = "+33612345680", "+33612345678", "+33612345679"  # of the trial
ANSWERED = "+33611111111"


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[tuple[str, str]]:
    """A real `stream-scrub serve` with tokens: its address, and a token."""
    folder = tmp_path_factory.mktemp("served")
    token = tokens.add(folder / "tokens.json", "d", ["check"], datetime.now(UTC)).token
    where = f"127.0.0.1:{free_ports(1)[0]}"
    command = [SCRIPT, "serve", "--trial", "--set", f"http.listen={where}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--set", f"http.tokens={folder / 'tokens.json'}"], stdout=log, stderr=log
        )
    try:
        wait_until(lambda: is_ready(f"http://{where}/readyz"))
        yield f"http://{where}", token
    finally:
        process.terminate()
        process.wait()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module", params=CHECKING)
def program(request, tmp_path_factory) -> Iterator[Program]:
    made = Program([*driver_of(request.param, tmp_path_factory.mktemp("kit")), "check"])
    yield made
    made.kill()


def asked(program: Program, url: str, *numbers: str, token: str = "", deadline_s: float = 60) -> str:
    """What the client says: `true` or `false` with the reason and the numbers, or `unknown` with the status and why."""
    question = {"url": url, "token": token, "deadline": deadline_s, "numbers": numbers}
    return program.ask(json.dumps(question))


def test_a_verdict_is_the_servers(program, served):
    """A dialler in another language would act on another verdict than the one that was given, or be turned away."""
    url, token = served
    assert asked(program, url, CONSENTING, token=token) == f"true consented {CONSENTING}"
    assert asked(program, url, OPPOSED, token=token) == f"false opposed {OPPOSED}"
    assert asked(program, url, NOBODY, token=token) == f"false no-consent {NOBODY}"
    several = asked(program, url, CONSENTING, OPPOSED, token=token)
    assert several == f"false opposed {CONSENTING},{OPPOSED}"
    assert asked(program, url, CONSENTING).startswith("unknown 401 ")


def test_the_types_are_those_of_the_interface(served):
    """A member that the server gives could not be read in TypeScript, or one that it never gives would be waited for."""
    schemas = httpx.get(f"{served[0]}/openapi.json", timeout=60).json()["components"]["schemas"]
    source = (KITS / "typescript" / "src" / "check.ts").read_text()
    for interface, schema in (("Stamp", "Stamp"), ("NumberStamp", "NumberStamp"), ("Facts", "CheckProspect")):
        (body,) = re.findall(rf"^export interface {interface} {{\n(.*?)^}}", source, re.DOTALL | re.MULTILINE)
        found = {*re.findall(r"^  (\w+)\??:", body, re.MULTILINE)}
        assert found == schemas[schema]["properties"].keys() - {"prospects"} - (
            {"number"} if interface == "Facts" else set()
        )


def test_whatever_is_no_verdict_is_an_error(program):
    """A proxy's page, a cut answer or a misread status would be a permission to call."""
    told = {}
    for name, answer in no_verdicts().items():
        with answering(answer) as (url, _):
            told[name] = asked(program, url, ANSWERED, deadline_s=0.4).split()[0]
    assert told == dict.fromkeys(no_verdicts(), "unknown")


def test_an_answer_fits_its_own_number_only(program):
    """A proxy that mixes answers up would give permission to call somebody who opposed."""
    for typed in ("06 11 11 11 11", "+33 (0)6 11-11-11-11", "tel:0611111111", "+33611111111;ext=12345"):
        with answering(http(200, allowed())) as (url, _):
            assert asked(program, url, typed) == f"true clear {ANSWERED}"
    for typed in (["0176/12345678"], ["tel:+33612345678"], ["n/a"], ["12"], ["06 12 34 56 78", "n/a"], []):
        with answering(http(200, allowed())) as (url, _):
            assert asked(program, url, *typed).startswith("unknown 200")


def test_what_passes_is_asked_again_and_a_time_out_is_in_time(program):
    """One restart of a server would stop a dialler, or a server that hangs would hold it for ever."""
    busy = http(503, b'{"detail":"wait","cause":"log-behind"}', "Retry-After: 0")
    with answering(None, busy, http(200, allowed())) as (url, count):
        assert asked(program, url, ANSWERED) == f"true clear {ANSWERED}" and count[0] == 3
    with answering(busy) as (url, _):
        assert asked(program, url, ANSWERED, deadline_s=5).startswith("unknown 503")
    with answering(http(422, b"{}")) as (url, count):
        assert asked(program, url, ANSWERED).startswith("unknown 422") and count[0] == 1
    with answering(http(200, allowed()), delay_s=30) as (url, _):
        started = time.monotonic()
        assert asked(program, url, ANSWERED, deadline_s=0.5).startswith("unknown 0 ")
        assert time.monotonic() - started < 25


def test_a_deep_answer_holds_nobody_up(program):
    """One odd answer would stop a dialler for minutes."""
    deep = allowed(more=f',"x":{"[" * 9_900}"{"x" * 300_000}"{"]" * 9_900}')
    with answering(http(200, deep)) as (url, _):
        started = time.monotonic()
        asked(program, url, ANSWERED)
        assert time.monotonic() - started < 30


def test_a_token_that_no_header_can_hold_is_not_shown(program):
    """A token from a file that ends with a line break would be in the dialler's log."""
    with answering(http(200, allowed())) as (url, _):
        found = asked(program, url, ANSWERED, token="secret\n", deadline_s=0.3)
    assert found and "secret" not in found


def test_each_failure_has_its_cure(program):
    """An integrator would look for a slow network, where the address or the authority is wrong."""
    refused = asked(program, f"http://127.0.0.1:{free_ports(1)[0]}", ANSWERED, deadline_s=1)
    assert refused.startswith("unknown 0 the connection was refused: start the server")
    no_scheme = asked(program, "127.0.0.1:8080", ANSWERED)
    assert no_scheme.endswith(" the address has no scheme: write http:// or https:// in front")
    with answering(http(200, allowed()), delay_s=30) as (url, _):
        late = asked(program, url, ANSWERED, deadline_s=0.5)
    assert late.startswith("unknown 0 no answer came in time: look whether the server hangs")
    with Web(lambda *_: (200, b"")) as web:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        web._server.socket = context.wrap_socket(web._server.socket, server_side=True)
        untrusted = asked(program, web.url.replace("http:", "https:"), ANSWERED, deadline_s=3)
    assert untrusted.startswith("unknown 0 the server's certificate is not trusted: ")
    assert ANSWERED[1:] not in refused + late + untrusted
