"""The nouns."""

import pytest

from stream_scrub.model import RegisterName, family


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("us-dnc", RegisterName("us-dnc")),
        ("internal@acme-1", RegisterName("internal", "acme-1")),
        ("internal@+sms", RegisterName("internal", "+sms")),
        ("internal@acme+sms", RegisterName("internal", "acme+sms")),
        ("internal@", None),
        ("internal@+", None),
        ("consent@+sms", None),
        *(
            (text, None)
            for text in (
                "",
                "-a",
                "US",
                "a@",
                "@a",
                "a@b@c",
                "a b",
                "a\n",
                "a@.b",
                "a@b.c",
                "a@b_c",
                "a@b-",
                "a@b--c",
                "été",
            )
        ),
    ],
)
def test_names_of_registers(text: str, name: RegisterName | None) -> None:
    """A misspelt name made a register that no rule looks in: everybody on that list would be called."""
    assert RegisterName.parse(text) == name
    if name is not None:
        assert str(name) == text and RegisterName.split(text) == name and family(text) == name.base


def test_numbers_as_names() -> None:
    """A register or a campaign that is called by a phone number would show it on every page and metric."""
    assert RegisterName("internal", "33612345678").looks_like_number
    assert not RegisterName("us-dnc", "2026").looks_like_number
