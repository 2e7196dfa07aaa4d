"""The texts of rules on the log: each is put there once, and gives again the rule that a stamp names."""

import pytest

from stream_scrub.errors import Refused
from stream_scrub.log import rules_on_log
from stream_scrub.log.encode import marked
from stream_scrub.log.wire import MOVED, RULES, DeltaSource
from stream_scrub.model import Deadline
from stream_scrub.rules import digest_of
from tests.support.fakes import law
from tests.support.fakes.log import Log, Reader, Writer
from tests.support.fakes.publisher import AT, Publisher, followed
from tests.support.golden.evidence import keep_rules


def kept_on(log):
    return rules_on_log.kept(followed(log, digest_of=digest_of).rules)


def put(log, *texts, **more):
    known = followed(log).known(RULES)
    rules = rules_on_log.read(Reader(log), known, Deadline.after(60))
    return rules_on_log.put(Writer(log), rules, known, law.rulebook(*texts), AT, "stream-scrub", **more)


def test_every_text_in_use_is_put_on_the_log_once():
    """An old stamp would name a rule that nobody can find, or the log grow by the same texts with every import."""
    log = Log()
    book = law.rulebook(law.OPT_IN)
    assert rules_on_log.lacking(followed(log).rules, book) == frozenset(book.texts)

    published = put(log, law.OPT_IN)

    assert published is not None and published.seal.source.name == "stream-scrub"
    assert rules_on_log.lacking(followed(log).rules, book) == frozenset()
    end = log.end
    assert put(log, law.OPT_IN) is None
    assert log.end == end


def test_new_rules_are_added_to_the_old_ones():
    """After an upgrade the stamps of last year could not be replayed any more."""
    log = Log()
    put(log, law.OPT_IN)
    put(log, law.OPT_OUT)

    found = kept_on(log)

    for text in (law.OPT_IN, law.OPT_OUT):
        ((digest, kept),) = law.rulebook(text).texts.items()
        assert found.text(digest) == kept
        assert found.book([digest]).texts == {digest: kept}


def test_all_texts_are_stated_anew_as_the_log_grows():
    """A new follower would read ten years of log for a few rules."""
    log = Log()
    publisher = Publisher(log)
    keep_rules(publisher, law.OPT_IN)
    for number in range(6):
        publisher.import_list("list", {33600000000 + number: 0})

    published = put(log, law.OPT_OUT, full_every=5)

    assert published.seal.kind == "full" and published.seal.count == 2
    assert followed(log, start="latest-full").rules.position == published.position
    assert len(kept_on(log)) == 2


def test_no_rules_are_put_on_a_log_that_was_left_meanwhile():
    """A publisher that had read the log before would go on there, and an opt-out go where nobody looks any more."""
    log = Log()
    put(log, law.OPT_IN)
    behind = followed(log).known(RULES)
    seen = followed(log, digest_of=digest_of)
    source = DeltaSource("opposition.log.2", "0" * 64)
    Writer(log).publish(marked(seen.rules, MOVED, source, AT, seen.known(RULES)))
    with pytest.raises(Refused, match=r"renewed as opposition\.log\.2"):
        rules_on_log.read(Reader(log), behind, Deadline.after(60))


def test_rules_that_others_have_put_there_meanwhile_are_found():
    """Two upgrades at once would publish a rule twice, and every follower stop at the second one."""
    log = Log()
    publisher = Publisher(log, full_every=4)
    texts = (law.OPT_IN, law.OPT_OUT, law.OPT_OUT.replace("28", "29"), law.OPT_IN.replace("10", "11"))
    for at, text in enumerate(texts):
        behind = followed(log).known(RULES)
        publisher.import_list("list", {33600000000 + at: 0})
        keep_rules(Publisher(log), text, full_every=4 if at % 2 else 1000)
        for known in (behind, followed(log).known(RULES)):
            rules = rules_on_log.read(Reader(log), known, Deadline.after(60))
            assert rules == followed(log, digest_of=digest_of).rules
            assert rules_on_log.kept(rules).lacks(law.rulebook(text)) == []
