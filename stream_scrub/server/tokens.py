"""The file of tokens: who may ask, and for what. It holds digests, so that whoever reads it learns no token.

A token is 256 random bits behind a prefix that secret scanners can find. Random bits cannot be guessed, so one SHA-256
is enough. The file is replaced as a whole, and whoever serves by it reads it anew when it has changed.
"""

import fcntl
import hmac
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec

from stream_scrub.atomic_file import atomic_file
from stream_scrub.errors import ConfigError, Unavailable
from stream_scrub.redaction import names_a_number
from stream_scrub.timestamps import utc_seconds

PREFIX = "scrub_"
SCOPES = ("check", "request", "history", "admin")
TOKENS_MAX = 256  # each question is compared with all of them
_BYTES_MAX = 262_144
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_USED = ".used"  # beside the file: when each token was last used, in minutes


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One token, without the token: its digest, what it may ask for, and when it was made."""

    name: str
    scopes: tuple[str, ...]
    created_at: str
    sha256: str

    def may(self, scope: str) -> bool:
        """Whether it may ask for that."""
        return scope in self.scopes or "admin" in self.scopes


class TokenFile(msgspec.Struct, frozen=True, kw_only=True):
    """What the file holds."""

    version: int = 1
    tokens: tuple[Token, ...] = ()


class ListedToken(msgspec.Struct, frozen=True, kw_only=True):
    """One token as it is listed; `last_used` None: never, or nobody could write it down."""

    name: str
    scopes: tuple[str, ...]
    created_at: str
    last_used: str | None


class IssuedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A new token, shown this once."""

    name: str
    scopes: tuple[str, ...]
    token: str


_DECODER = msgspec.json.Decoder(TokenFile)


def read(path: Path) -> TokenFile:
    """What the file holds. Raises Unavailable if it cannot be read or is no file of tokens."""
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
        found = _DECODER.decode(content)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unavailable(f"{path}: this is no file of tokens") from error
    if found.version != 1 or len(found.tokens) > TOKENS_MAX:
        raise Unavailable(f"{path}: tokens of another version, or more than {TOKENS_MAX}")
    return found


def add(path: Path, name: str, scopes: list[str], now: datetime) -> IssuedToken:
    """Make a token and keep its digest; the file is made if it is missing. Raises ConfigError, Unavailable."""
    problems = []
    if _NAME.fullmatch(name) is None or names_a_number(name):
        problems.append("NAME: use letters, digits, dots, underscores and hyphens, and no phone number")
    if not scopes or not set(scopes) <= set(SCOPES):
        problems.append(f"--scope: name some of {', '.join(SCOPES)}")
    if problems:
        raise ConfigError(problems)
    token = PREFIX + secrets.token_urlsafe(32)
    made = Token(
        name=name,
        scopes=tuple(each for each in SCOPES if each in scopes),
        created_at=utc_seconds(now),
        sha256=_digest(token),
    )

    def added(held: TokenFile) -> TokenFile:
        if any(each.name == name for each in held.tokens):
            raise ConfigError([f"NAME: there is a token {name} already: revoke it, or choose another name"])
        if len(held.tokens) == TOKENS_MAX:
            raise ConfigError([f"there are {TOKENS_MAX} tokens already: revoke one"])
        return TokenFile(tokens=(*held.tokens, made))

    _change(path, added)
    return IssuedToken(name=name, scopes=made.scopes, token=token)


def is_there(path: Path, name: str) -> bool:
    """Whether there is a token of that name. Raises Unavailable for a file that cannot be read."""
    return path.exists() and any(each.name == name for each in read(path).tokens)


def revoke(path: Path, name: str) -> None:
    """Forget a token. Raises ConfigError if there is none of that name, Unavailable."""

    def without(held: TokenFile) -> TokenFile:
        kept = tuple(each for each in held.tokens if each.name != name)
        if len(kept) == len(held.tokens):
            raise ConfigError([f"NAME: there is no token {name}"])
        return TokenFile(tokens=kept)

    _change(path, without)


def listed(path: Path) -> list[ListedToken]:
    """Every token with its last use. Raises Unavailable."""
    used = _used(path)
    return [
        ListedToken(
            name=each.name,
            scopes=each.scopes,
            created_at=each.created_at,
            last_used=used.get(each.name),
        )
        for each in read(path).tokens
    ]


def note_use(path: Path, used: dict[str, datetime]) -> None:
    """Write down when tokens were last used. Where that cannot be written it is nowhere."""
    try:
        with _alone(path):
            held = _used(path) | {name: utc_seconds(moment) for name, moment in used.items()}
            _write(path.with_name(path.name + _USED), msgspec.json.encode(held))
    except OSError:
        return


def _used(path: Path) -> dict[str, str]:
    try:
        content = path.with_name(path.name + _USED).read_bytes()
        return msgspec.json.decode(content, type=dict[str, str])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}


def _digest(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _change(path: Path, change: Callable[[TokenFile], TokenFile]) -> None:
    try:
        with _alone(path):
            held = read(path) if path.exists() else TokenFile()
            _write(path, msgspec.json.format(msgspec.json.encode(change(held)), indent=2) + b"\n")
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else changes it meanwhile. Raises OSError."""
    held = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _write(path: Path, content: bytes) -> None:
    with atomic_file(path.parent, f".{path.name}.{os.getpid()}") as file:
        file.out.write(content)
        file.keep(path.name)


class TokenStore:
    """The tokens as a server knows them. Whatever is wrong with the file, nobody is let in by it. `tell` is called
    with the reason, or with "" when it is well again."""

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self.path = path
        self._tell = tell
        self._seen: tuple[int, ...] | None = None
        self._tokens: tuple[Token, ...] = ()
        self._used: dict[str, datetime] = {}
        self.look()

    def look(self) -> None:
        """Read the file anew if it has changed."""
        try:
            state = self.path.stat()
            # The time of the last change as well: copies may keep the other three (`cp -p`, `rsync -t`).
            seen = (state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino)
            if seen == self._seen:
                return
            self._tokens, self._seen = read(self.path).tokens, seen
            self._tell("")
        except OSError as error:
            self._tokens, self._seen = (), None
            self._tell(f"{self.path}: {error.strerror}")
        except Unavailable as error:
            self._tokens, self._seen = (), None
            self._tell(str(error))

    def find(self, token: str) -> Token | None:
        """The token that this is, compared with every one of them in the same time."""
        digest, found = _digest(token), None
        for each in self._tokens:
            if hmac.compare_digest(each.sha256, digest):
                found = each
        if found is not None:
            self._used[found.name] = datetime.now(UTC)
        return found

    def keep_use(self) -> None:
        """Write down what was used since the last time. It waits for the disk."""
        used, self._used = self._used, {}
        if used:
            note_use(self.path, used)
