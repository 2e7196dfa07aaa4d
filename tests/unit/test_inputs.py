"""Which topics prospects come from, and where those of each come out."""

import pytest

from stream_scrub.config import read

OF_EACH = {"topics.allowed": "{input}.allowed", "topics.blocked": "{input}.blocked"}


def topics(prospects, **more):
    found = read(flags={"topics.prospects": prospects, **more}, environ={})
    assert not found.problems, found.problems
    return found.settings.topics


@pytest.mark.parametrize("given", ["fr,gb", ["fr", "gb"], '["fr", "gb"]'])
def test_a_list_of_topics_is_written_as_any_list(given):
    """A user who lists topics in the file, the environment or a flag would get one topic with a strange name."""
    inputs = topics(given).inputs
    assert [tuple(each) for each in inputs.among(())] == [
        ("fr", "prospects.allowed", "prospects.blocked"),
        ("gb", "prospects.allowed", "prospects.blocked"),
    ]
    assert inputs.several
    assert inputs.shared


def test_outputs_of_each_input_carry_its_name():
    """Two countries' leads would come out on one topic though somebody asked for two."""
    inputs = topics("fr,gb", **OF_EACH).inputs
    assert tuple(inputs.route("gb")) == ("gb", "gb.allowed", "gb.blocked")
    assert not inputs.shared
    assert topics("fr,gb", **{"topics.allowed": "{input}.allowed"}).inputs.shared


def test_one_topic_is_what_it_was():
    """Who has one topic would see new headers, and pay for them."""
    inputs = topics("leads").inputs
    assert not inputs.several
    assert not inputs.shared


def test_a_pattern_never_reads_what_is_written():
    """Prospects would go round for ever, or the opposition log be taken for leads."""
    inputs = topics("^", **OF_EACH).inputs
    there = ["fr", "fr.allowed", "fr.blocked", "opposition.log", "prospects.shadow", "__consumer_offsets"]
    assert [each.input for each in inputs.among(there)] == ["fr"]
    some = topics("^leads\\.(fr|gb)$", **OF_EACH).inputs
    assert [each.input for each in some.among(["leads.gb", "leads.fr", "leads.it", "a.leads.fr"])] == [
        "leads.fr",
        "leads.gb",
    ]


def test_an_output_is_known_by_its_name():
    """`explain --topic` would refuse the topics that workers write to."""
    inputs = topics("^leads", **OF_EACH).inputs
    asked = ("leads.fr.allowed", "leads.fr.blocked", "leads.fr")
    assert [inputs.verdict_of(name) for name in asked] == ["allowed", "blocked", ""]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"topics.prospects": "^leads"}, "a pattern needs outputs of each topic"),
        ({"topics.prospects": "^lea("}, "should be a regular expression"),
        ({"topics.prospects": ["^leads", "fr"]}, "one pattern, or topics by their names"),
        ({"topics.prospects": "fr,fr"}, "each once"),
        ({"topics.prospects": []}, "at least one topic"),
        ({"topics.prospects": "fr,prospects.allowed"}, "should be different topics"),
        ({"topics.prospects": "fr,fr.allowed", **OF_EACH}, "should be different topics"),
        (
            {"topics.prospects": "^fr", "topics.allowed": "{input}", "topics.blocked": "{input}.b"},
            "different",
        ),
        ({"topics.allowed": "{inputs}.allowed"}, "should be a Kafka topic name"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(given, said):
    """A worker would read what it writes, or leads come out where nobody expects them."""
    (problem,) = read(flags=given, environ={}).problems
    assert said in problem
