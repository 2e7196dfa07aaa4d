"""Health and metrics of a running worker or publisher, asked as Kubernetes and Prometheus do."""

import http.client
import json
from typing import Any

from tests.support.fakes.process_status import Scraped
from tests.support.running.worker import WorkerProcess
from tests.support.waiting import wait_until

LISTEN = "127.0.0.1:0"  # for `http__listen`: any free port; the log says which one


class Watched:
    """The pages of one process."""

    def __init__(self, process: WorkerProcess) -> None:
        wait_until(lambda: process.logged("listening") or not process.alive)
        (line,) = [line for line in process.lines() if line["event"] == "listening"]
        self.port = line["port"]

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def status(self, path: str) -> int:
        return self.get(path)[0]

    def causes(self, path: str = "/readyz") -> list[dict[str, Any]]:
        """Why it is not well, for all loops. Each reason says what to do."""
        loops = json.loads(self.get(path)[1])["loops"]
        found = [cause for loop in loops for cause in loop.get("causes", ())]
        assert all(cause["why"] and cause["do"] for cause in found)
        return found

    def degraded(self) -> list[dict[str, Any]]:
        """What it does only in part although it is ready, for all loops."""
        loops = json.loads(self.get("/readyz")[1])["loops"]
        return [cause for loop in loops for cause in loop.get("degraded", ())]

    def held_for(self, cause: str) -> bool:
        """Whether it is not ready because of that cause."""
        return self.status("/readyz") == 503 and cause in {each["cause"] for each in self.causes()}

    def metrics(self) -> Scraped:
        status, page = self.get("/metrics")
        assert status == 200
        return Scraped(page.decode())
