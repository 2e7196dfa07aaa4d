"""A system under attack goes on: nobody dies, nothing hostile gets in, and nobody's number comes out."""

import json

import pytest

from tests.support.running.abuse import Abuse, figures

pytestmark = pytest.mark.chaos


@pytest.mark.slow
def test_hostile_files_leads_requests_and_connections_harm_themselves_alone(kafka, stages, record_property):
    """One producer, dialler, list or neighbour would stop everybody's opt-outs, or read who is called."""
    done = Abuse(stages(kafka.bootstrap, partitions=2), 12, everything=False).run()

    assert done.is_enough
    record_property("abuse", json.dumps(figures(done)))
