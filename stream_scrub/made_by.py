"""Who made a record or a file, as the system knows it: nothing here is what the maker says of itself."""

import os
import pwd
import socket
from functools import cache

import msgspec


class MadeBy(msgspec.Struct, frozen=True, omit_defaults=True):
    """The user and the host of the process, the token of who asked the server for it, and the user as which the process
    signs in at the brokers."""

    user: str
    host: str
    token: str = ""  # its name
    kafka_user: str = ""

    def __str__(self) -> str:
        names = [f"{self.user} on {self.host}"]
        if self.token:
            names.append(f"token {self.token}")
        if self.kafka_user:
            names.append(f"Kafka user {self.kafka_user}")
        return ", ".join(names)


_MADE_BY = msgspec.json.Decoder(MadeBy)
HEADER = "scrub-made-by"  # of a request that came over HTTP
_HEADER_BYTES_MAX = 1024


def of_header(value: bytes | None) -> MadeBy | None:
    """Who sent a request, by its header; None for any other header."""
    if value is None or len(value) > _HEADER_BYTES_MAX:
        return None
    try:
        return _MADE_BY.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def made_by(*, token: str = "", kafka_user: str = "") -> MadeBy:
    """This process, for the owner of that token."""
    user, host = _process()
    return MadeBy(user, host, token, kafka_user)


@cache
def _process() -> tuple[str, str]:
    # By the kernel: variables such as USER are what somebody set.
    number = os.getuid()
    try:
        user = pwd.getpwuid(number).pw_name
    except KeyError:  # a container's user without a name
        user = f"uid {number}"
    return user, socket.gethostname()
