"""The first lines of a daemon at a terminal: what it reads, where it writes and listens, what to try."""

from typing import TYPE_CHECKING

from stream_scrub import terminal
from stream_scrub.ops import logs

if TYPE_CHECKING:
    from stream_scrub.config import Settings

_CHECK = """'{"number": "06 12 34 56 78", "purpose": "insurance"}'"""


def of_worker(settings: "Settings") -> None:
    """Say what a worker reads and writes."""
    topics = settings.topics
    _greet(
        settings,
        "scrubbing prospects",
        reads=f"{', '.join(topics.inputs.names)} on {settings.kafka.bootstrap_servers}, as group {settings.worker.group_id}",
        writes=f"{topics.allowed}, {topics.blocked}",
        lists=f"follows {topics.log}",
        health=_health(settings),
    )


def of_publisher(settings: "Settings") -> None:
    """Say what a publisher reads, and which folder it watches."""
    topics, folder = settings.topics, settings.lists.folder
    _greet(
        settings,
        "publishing requests and lists",
        reads=f"{topics.requests}, {topics.lifts} on {settings.kafka.bootstrap_servers}",
        writes=topics.log,
        folder=f"{folder}/REGISTER: full lists go there, changes into its folders adds and removes"
        if folder
        else "none: --folder DIR watches one for lists",
        health=_health(settings),
    )


def of_server(settings: "Settings") -> None:
    """Say where a server listens, with a command to try it."""
    _greet(
        settings,
        "serving the check API and the status page",
        lists=f"follows {settings.topics.log} on {settings.kafka.bootstrap_servers}",
        **_api(settings),
    )


def of_trial(settings: "Settings") -> None:
    """The same of a trial."""
    _greet(
        settings,
        "a trial of the check API: real rules, an embedded Kafka, and two short lists. Nothing is kept",
        lists="+33612345678 has opted out, +33612345680 consents to calls",
        **_api(settings),
    )


def _api(settings: "Settings") -> dict[str, str]:
    url, token = _url(settings), " -H 'Authorization: Bearer TOKEN'" if settings.http.tokens else ""
    return {
        "page": f"{url}/",
        "API": f"{url}/docs",
        "access": "with a token (stream-scrub tokens add)" if token else "this machine only, without a token",
        "try": f"curl -s {url}/v1/check{token} -H 'Content-Type: application/json' -d {_CHECK}",
    }


def _health(settings: "Settings") -> str:
    return f"{_url(settings)}/readyz, {_url(settings)}/metrics" if settings.http.listen else "not served"


def _url(settings: "Settings") -> str:
    return f"{'https' if settings.http.tls_cert else 'http'}://{settings.http.listen}"


def _greet(settings: "Settings", what: str, **more: str) -> None:
    if logs.for_people(settings.log.format):
        console = terminal.people(stderr=True)
        console.print(f"stream-scrub: {what}")
        for name, text in {**more, "stop": "Ctrl-C"}.items():
            console.print(f"  {name:<7} {text}")
