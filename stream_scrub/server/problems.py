"""What the API answers when it gives no verdict: problems by RFC 9457, each of a kind from a closed set.

A problem never repeats what a request said. It names places: a member's path, built from our own names and from
places in lists. docs/check-api.md has the kinds, and what a dialler does about each.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec
from starlette.responses import Response

from stream_scrub.errors import StaleIndex
from stream_scrub.observability import health

MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:stream-scrub:problem:"
_RETRY_S = 1  # holds end by themselves, most of them within seconds


class Kind(Enum):
    """The kinds: status, and a title. The name, in small letters, is the end of the type."""

    MALFORMED_REQUEST = (400, "The request is no HTTP that is understood here")
    UNAUTHORIZED = (401, "Nobody knows who asks")
    FORBIDDEN = (403, "Who asks may not ask this")
    NOT_FOUND = (404, "There is nothing at this path")
    METHOD_NOT_ALLOWED = (405, "This path answers other methods")
    TOO_SLOW = (408, "The request did not come in time")
    TOO_LARGE = (413, "The body is too large")
    NOT_JSON = (415, "The body is of another media type")
    INVALID = (422, "The body does not say what is needed")
    TOO_MANY_REQUESTS = (429, "Too much is asked")
    HEADERS_TOO_LARGE = (431, "The headers are too large")
    FAULT = (500, "A fault of ours")
    NOT_WRITTEN = (503, "The request is not known to be written")
    STALE_INDEX = (503, "No verdict would be safe now")

    @property
    def status(self) -> int:
        """The status of the answer."""
        return int(self.value[0])

    @property
    def slug(self) -> str:
        """The end of its type."""
        return self.name.lower().replace("_", "-")


class Problem(Exception):
    """Raised anywhere below a route: becomes the answer. `detail` is a sentence for people, `members` are further
    members of the answer."""

    def __init__(
        self, kind: Kind, detail: str, headers: Mapping[str, str] | None = None, **members: Any
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.headers = dict(headers or {})
        self.body = msgspec.json.encode(
            {
                "type": _TYPE + kind.slug,
                "title": kind.value[1],
                "status": kind.status,
                "detail": detail,
                **members,
            }
        )

    @property
    def response(self) -> Response:
        """The answer."""
        return Response(self.body, self.kind.status, self.headers, MEDIA_TYPE)


def stale(found: StaleIndex) -> Problem:
    """No verdict would be safe: with the cause in words, and what to do about it."""
    told = health.cause(found.cause, str(found))
    headers = {"Retry-After": str(_RETRY_S)}
    return Problem(Kind.STALE_INDEX, told.why, headers, cause=told.cause, do=told.do)


def invalid(errors: Sequence[tuple[str, str]], **members: Any) -> Problem:
    """A body that cannot be judged: each error is a member's path and what is wrong there. `members` as for
    Problem."""
    listed = [{"path": path, "detail": detail} for path, detail in errors]
    path, detail = errors[0]
    return Problem(Kind.INVALID, f"{path}: {detail}", errors=listed, **members)
