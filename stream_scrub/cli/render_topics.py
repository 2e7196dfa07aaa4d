"""`topics` for people."""

from stream_scrub import terminal
from stream_scrub.wiring.topics_report import TopicsReport


def people(report: TopicsReport) -> None:
    """One row a topic, and then what they cost."""
    out = terminal.People()
    out.rows(
        ("role", "topic", "partitions", "state", ""),
        [
            (each.role, each.topic, each.partitions, each.state, "; ".join(each.differences))
            for each in report.topics
        ],
    )
    for cost, names in report.costs.items():
        out.print(f"{', '.join(names)}: {cost}")
