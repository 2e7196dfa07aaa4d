"""Records of several topics as one batch."""

from types import SimpleNamespace

from stream_scrub.kafka.polled_batch import NOTHING, PolledBatch


def message(topic, partition, offset):
    return SimpleNamespace(
        topic=lambda: topic,
        partition=lambda: partition,
        offset=lambda: offset,
        leader_epoch=lambda: 3,
        value=lambda: b"%d" % offset,
        headers=lambda: None,
    )


def fetched(*places, monkeypatch):
    monkeypatch.setattr("stream_scrub.kafka.headers._ASK", lambda each: each.headers())
    return PolledBatch.of([message(*place) for place in places], several=True)


def test_partitions_of_one_number_in_two_topics_are_two_partitions(monkeypatch):
    """The offset of one topic would be committed for the other: prospects would be lost, or come out twice."""
    places = [("a", 0, 5), ("b", 0, 9), ("a", 0, 6), ("b", 1, 2)]
    batch = fetched(*places, monkeypatch=monkeypatch)
    assert set(batch.lasts()) == {("a", 0, 6, 3), ("b", 0, 9, 3), ("b", 1, 2, 3)}


def test_what_is_kept_for_the_next_batch_keeps_its_topics(monkeypatch):
    """A prospect would come out as another topic's, and its offset be committed there."""
    batch = fetched(("a", 0, 5), ("b", 0, 9), ("a", 0, 6), monkeypatch=monkeypatch)
    first, rest = batch.parted(1)
    assert (list(first.topics), list(rest.topics)) == (["a"], ["b", "a"])
    again = first.then(rest.then(NOTHING))
    assert (list(again.topics), again.values) == (list(batch.topics), batch.values)
