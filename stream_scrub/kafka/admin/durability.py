"""Which promise topics cost that keep what was acknowledged on too few brokers. Pure.

No setting of ours makes up for it: what a broker forgets that it acknowledged, nobody has.
"""

from collections.abc import Mapping

from stream_scrub.kafka.admin.topics import TopicDescription

_REPLICAS, _IN_SYNC = 3, 2
FEW_REPLICAS = (
    f"fewer than {_REPLICAS} replicas: two brokers that are lost take acknowledged records with them, and one that is"
    " away stops writing or leaves a single copy; prospects and opt-outs may be lost"
)
ONE_IN_SYNC = (
    f"min.insync.replicas below {_IN_SYNC}: one broker alone acknowledges, and what it has not passed on is lost with"
    " it; prospects and opt-outs may be lost, and with the committed offsets prospects may come out twice"
)
UNCLEAN = (
    "unclean.leader.election.enable: a replica that is behind may lead, and what it lacks is gone; prospects are lost or"
    " come out twice, and a log without its end holds every worker"
)


def costs(found: Mapping[str, TopicDescription]) -> dict[str, list[str]]:
    """What the settings of topics cost, in words, each with the names of the topics. A setting that may not be read
    costs nothing here."""
    told: dict[str, list[str]] = {}
    for name, topic in sorted(found.items()):
        if 0 < topic.replicas < _REPLICAS:
            told.setdefault(FEW_REPLICAS, []).append(name)
        if int(topic.config.get("min.insync.replicas", _IN_SYNC)) < _IN_SYNC:
            told.setdefault(ONE_IN_SYNC, []).append(name)
        if topic.config.get("unclean.leader.election.enable") == "true":
            told.setdefault(UNCLEAN, []).append(name)
    return told
