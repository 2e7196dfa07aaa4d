"""The few errors, each named by what the caller must do. A bad prospect is not one of them: it is a verdict.

No error text holds a phone number: it names a topic, partition and offset, or a file and line.
"""

import collections.abc
import errno


class ScrubError(Exception):
    """Base of every error that crosses a room."""

    reopens = True
    """Whether a transactional producer that met this error must be re-created: its state is not to be trusted."""


def code_of(error: OSError) -> str:
    """The system's name for an error, as in ENOSPC: a page in any language may show it."""
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


class ConfigError(ScrubError):
    """The settings or the rules are wrong. Exit 2. Lists every problem at once."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Unavailable(ScrubError):
    """A broker cannot be asked now. Retry until the deadline."""


class Migrated(ScrubError):
    """Fenced, revoked or lost: abort, drop the fetched buffer, rewind from the committed offsets, go on. Normal."""

    reopens = False


class TakenOver(Migrated):
    """(a) Another publisher has this register now, or the transaction outlived its timeout: ask who has it, and end
    or start again. (b) Another worker has this one's place in the group: end.
    """


class Uncertain(ScrubError):
    """A commit whose outcome is unknown: re-create the producer, ask the broker, never assume."""


class Unwritable(Migrated):
    """A topic refuses records for what they are: do as for Migrated, and then emit these records in another form.

    `reports` has what the client said of each, by its place in the batch: the client's own word for the error.
    """

    reopens = True  # a refused record leaves a gap in the sequence, and the next transaction would fail

    def __init__(self, text: str, reports: collections.abc.Mapping[int, str] | None = None) -> None:
        super().__init__(text)
        self.reports: collections.abc.Mapping[int, str] = reports or {}


class TooLarge(Unwritable):
    """A record that is over the topic's limit, or a batch of the client's that is."""


class StaleIndex(ScrubError):
    """No verdict would be safe: hold. `cause` is a short word for metrics, the text a sentence for people. `offset`
    is the offset on the log that it is about, if there is one.
    """

    def __init__(self, cause: str, text: str, offset: int | None = None) -> None:
        super().__init__(text)
        self.cause = cause
        self.offset = offset


class Refused(ScrubError):
    """The broker will not do this for us (missing right, missing topic, wrong password). Exit 1. Says what to
    change."""


class BadFile(ScrubError):
    """A file of leads cannot be scrubbed: it is damaged, has no rows, or too many without a readable number. Exit 1."""


class TooMany(ScrubError):
    """There is no room for so many numbers (`lists.max_numbers`): publish nothing, or hold. Says what to change."""


class Corrupt(ScrubError):
    """The log, a snapshot or an invariant is broken: stop serving. Exit 3. `offset` is the offset on the log that it
    is about, if there is one. The text names it. A log line has it in a field of its own, because log lines mask long
    digits in texts.
    """

    def __init__(self, text: str, offset: int | None = None) -> None:
        super().__init__(text if offset is None else f"log offset {offset}: {text}")
        self.offset = offset
