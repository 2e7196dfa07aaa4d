"""The token file: names, scopes and SHA-256 digests of the API's tokens. A reader of the file learns no token.

A token is 256 random bits after a prefix that secret scanners find. It cannot be guessed, so a single SHA-256 is
enough. Commands replace the file as a whole; servers reload it when it changes.
"""

import fcntl
import hmac
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import msgspec

from stream_scrub.atomic_file import atomic_file
from stream_scrub.clock import utc_seconds
from stream_scrub.errors import ConfigError, Unavailable
from stream_scrub.texts import names_a_number

PREFIX = "scrub_"
EVIDENCE = "evidence"
SCOPES = ("check", "request", "history", "file", EVIDENCE, "admin")
# What a scope includes besides itself.
_INCLUDED = {"admin": frozenset(SCOPES), EVIDENCE: frozenset({"history"})}
TOKENS_MAX = 256  # each request is compared with all of them
_BYTES_MAX = 262_144
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_USED = ".used"  # suffix of the file next to it: when each token was last used


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One token as it is stored."""

    name: str
    scopes: tuple[str, ...]
    created_at: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

    def may(self, scope: str) -> bool:
        """Whether the token has this scope, or one that includes it."""
        return any(scope == each or scope in _INCLUDED.get(each, ()) for each in self.scopes)


class TokenFile(msgspec.Struct, frozen=True, kw_only=True):
    """The file's content."""

    version: int = 1
    tokens: tuple[Token, ...] = ()


class ListedToken(msgspec.Struct, frozen=True, kw_only=True):
    """One token for `tokens list`. `last_used` None: never used, or the use could not be written."""

    name: str
    scopes: tuple[str, ...]
    created_at: str
    last_used: str | None


class IssuedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A new token, shown only once."""

    name: str
    scopes: tuple[str, ...]
    token: str


_DECODER = msgspec.json.Decoder(TokenFile)


def read(path: Path) -> TokenFile:
    """Read the file. Raises Unavailable if it is unreadable or not a token file."""
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
        tokens = _DECODER.decode(content)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unavailable(f"{path}: not a token file") from error
    if tokens.version != 1 or len(tokens.tokens) > TOKENS_MAX:
        raise Unavailable(f"{path}: another version of the format, or more than {TOKENS_MAX} tokens")
    return tokens


def add(path: Path, name: str, scopes: list[str], now: datetime) -> IssuedToken:
    """Create a token and store its digest; creates the file if needed. Raises ConfigError, Unavailable."""
    problems = []
    if _NAME.fullmatch(name) is None or names_a_number(name):
        problems.append("NAME: use letters, digits, dots, underscores and hyphens, and no phone number")
    if not scopes or not set(scopes) <= set(SCOPES):
        problems.append(f"--scope: choose from {', '.join(SCOPES)}")
    if problems:
        raise ConfigError(problems)
    token = PREFIX + secrets.token_urlsafe(32)
    stored = Token(
        name=name,
        scopes=tuple(each for each in SCOPES if each in scopes),
        created_at=utc_seconds(now),
        sha256=_digest(token),
    )

    def with_new(file: TokenFile) -> TokenFile:
        if any(each.name == name for each in file.tokens):
            raise ConfigError([f"NAME: token {name} exists: revoke it, or choose another name"])
        if len(file.tokens) == TOKENS_MAX:
            raise ConfigError([f"the file has {TOKENS_MAX} tokens, the maximum: revoke one"])
        return TokenFile(tokens=(*file.tokens, stored))

    _change(path, with_new)
    return IssuedToken(name=name, scopes=stored.scopes, token=token)


def exists(path: Path, name: str) -> bool:
    """Whether a token has that name. Raises Unavailable for an unreadable file."""
    return path.exists() and any(each.name == name for each in read(path).tokens)


def revoke(path: Path, name: str) -> None:
    """Delete a token. Raises ConfigError if none has that name, Unavailable."""

    def without(file: TokenFile) -> TokenFile:
        kept = tuple(each for each in file.tokens if each.name != name)
        if len(kept) == len(file.tokens):
            raise ConfigError([f"NAME: no token is called {name}"])
        return TokenFile(tokens=kept)

    _change(path, without)


def listed(path: Path) -> list[ListedToken]:
    """Return every token with its last use. Raises Unavailable."""
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
        with _locked(path):
            current = read(path) if path.exists() else TokenFile()
            _write(path, msgspec.json.format(msgspec.json.encode(change(current)), indent=2) + b"\n")
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock the folder against other processes that change the file. Raises OSError."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, content: bytes) -> None:
    with atomic_file(path.parent, f".{path.name}.{os.getpid()}") as file:
        file.out.write(content)
        file.keep(path.name)


def file_state(path: Path) -> tuple[int, ...] | None:
    """Return what changes whenever a file changes; None without one."""
    try:
        state = path.stat()
    except OSError:
        return None
    # With the ctime, since copies may keep the other three (`cp -p`, `rsync -t`).
    return state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino


class TokenStore:
    """A server's tokens. While the file is unreadable no token is valid: it may be gone because access was withdrawn.
    `report` is called with the reason, and with "" when the file is readable again."""

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self.path = path
        self._report = report
        self._seen: tuple[int, ...] | None = None
        self._tokens: tuple[Token, ...] = ()
        self._used: dict[str, datetime] = {}
        self.look()

    def look(self) -> None:
        """Reload the file if it has changed."""
        seen = file_state(self.path)
        if seen is not None and seen == self._seen:
            return
        try:
            self._tokens, self._seen = read(self.path).tokens, seen
            self._report("")
        except Unavailable as error:
            self._tokens, self._seen = (), None
            self._report(str(error))

    def find(self, token: str) -> Token | None:
        """Return the matching token. The time does not depend on which one matches."""
        digest, match = _digest(token), None
        for each in self._tokens:
            if hmac.compare_digest(each.sha256, digest):
                match = each
        if match is not None:
            self._used[match.name] = datetime.now(UTC)
        return match

    def keep_use(self) -> None:
        """Store the uses since the last call. Blocks on the disk."""
        used, self._used = self._used, {}
        if not used:
            return
        with suppress(OSError), _locked(self.path):  # the folder may be read-only
            merged = _used(self.path) | {name: utc_seconds(moment) for name, moment in used.items()}
            _write(self.path.with_name(self.path.name + _USED), msgspec.json.encode(merged))
