"""Reads settings from a TOML file, the environment and flags; later ones win. Problems are collected, never raised.

No problem repeats the value of a client property: it may be a secret.
"""

import difflib
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stream_scrub.config.settings import Settings
from stream_scrub.toml_lines import TomlLines, syntax_error

_SHOWN_MAX = 60


def cut(text: str) -> str:
    """A name or value, shortened for one line."""
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "..."


def dotted(key: Sequence[str]) -> str:
    """A key as the file would name it. Signs that a terminal could obey are escaped."""
    parts = [part if re.fullmatch(r"[A-Za-z0-9_.-]+", part) else json.dumps(part) for part in key]
    return cut(".".join(parts))


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint with the nearest known name, compared (a) as a whole, else (b) by its last part; empty if none is
    near."""
    near = difflib.get_close_matches(cut(name), known, n=1, cutoff=0.8)
    if not near:
        last = {_last(each): each for each in known}
        near = [last[hit] for hit in difflib.get_close_matches(_last(cut(name)), list(last), n=1, cutoff=0.8)]
    return f" (did you mean {near[0]}?)" if near else ""


def reason(error: ErrorDetails, *, secret: bool) -> str:
    """The model's error as the rest of a sentence that begins with the key. `secret` leaves the value out."""
    if error["type"] == "value_error":
        text = str(error["ctx"]["error"])
    else:
        text = re.sub(r"^(?:Input|String) should", "should", error["msg"]).replace("valid tuple", "list")
    value = error["input"]
    if secret or not isinstance(value, str | bool | int | float):
        return text
    try:
        return f"{text}, not {cut(json.dumps(value))}"
    except ValueError:  # an int of more digits than Python will print
        return text


def unreadable(error: OSError | ValueError) -> str:
    """Why a file cannot be read, as the rest of a sentence that begins with its name."""
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8"
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def _last(name: str) -> str:
    return re.split(r"\.|__", name)[-1]


PREFIX = "STREAM_SCRUB_"
FILE_NAME = "stream-scrub.toml"
_FLAG = "command line"  # several flags may set one key; the user knows which one was given
PROPERTIES = ("client", "consumer", "producer")

Key = tuple[str, ...]
_BYTES_MAX = 1 << 20  # of a settings file or a mounted secret; a chain of certificates is a few KiB
_TYPES: dict[Key, Any] = {
    (section, key): field.annotation
    for section, table in Settings.model_fields.items()
    for key, field in getattr(table.annotation, "model_fields", {}).items()
}
_MAPS: frozenset[Key] = frozenset(("kafka", side) for side in PROPERTIES)
# Settings whose value is a table.
_TABLES: frozenset[Key] = frozenset(
    {
        ("rules", "stale_by_register"),
        ("lists", "columns"),
        ("lists", "no_into"),
        ("kafka", "keep_days"),
        ("prospect", "professionals"),
        ("fanout", "targets"),
    }
)
# Settings whose value may hold a secret, if it is wrong.
_SECRET: frozenset[Key] = frozenset(
    {("registry", "url"), ("evidence", "timestamp_url"), ("fanout", "targets")}
)
_NOT_PROPERTIES = "should hold client properties by their names"
_NAMES = [*Settings.model_fields, *map(".".join, _TYPES)]
_VARIABLES = [PREFIX + "__".join(key).upper() for key in _TYPES]
# Properties of the client whose own name ends in "file": their variables are not the `_FILE` variant of another one.
_FILE_PROPERTIES = frozenset(
    f"sasl.oauthbearer.assertion.{name}" for name in ("file", "private.key.file", "jwt.template.file")
)
_NOT_SETTINGS = re.compile(PREFIX + r"(?:CONFIG|DIFFERENTIAL|TEST_\w+|REQUIRE_\w+)")
# Kubernetes puts these into every pod of a namespace with a Service named stream-scrub or stream-scrub-something.
_SERVICE_LINK = re.compile(
    PREFIX + r"(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_[A-Z]+(?:_\w+)?)?)"
)


class _Given(NamedTuple):
    value: Any
    where: str


class Sources:
    """Collects settings. Call the readers in order of rising precedence, then `settings`."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._given: dict[Key, _Given] = {}
        self._file: tuple[str, Path] | None = None  # its name as given, and its path

    def read_file(self, flag: Path | None, variable: str, cwd: Path) -> None:
        """Take the file that (a) --config names, else (b) STREAM_SCRUB_CONFIG names, else (c) stream-scrub.toml in
        `cwd`, if it is there."""
        name = str(flag) if flag is not None else variable or FILE_NAME
        named_by = "--config: " if flag is not None else f"{PREFIX}CONFIG: " if variable else ""
        try:
            if not named_by:
                _need_own(cwd / name)
            text = _text(cwd / name)
        except (OSError, ValueError) as error:
            if named_by or not isinstance(error, FileNotFoundError):
                self.problems.append(f"{named_by}{cut(name)} {unreadable(error)}")
            return
        self._file = name, cwd / name
        try:
            tables, places = _parsed(name, text)
        except ValueError as error:
            self.problems.append(str(error))
            return
        for section, table in tables.items():
            location = places.get((section,), name)
            if isinstance(table, dict) and section in Settings.model_fields:
                for key, value in table.items():
                    self._take((section, key), value, places.get((section, key), location), places)
            elif section in Settings.model_fields:
                self._wrong(location, (section,), "should be a table")
            else:
                self._unknown(location, (section,))

    def read_environment(self, environ: Mapping[str, str], cwd: Path) -> None:
        """Take every STREAM_SCRUB_ variable. One that is not a setting is a problem."""
        pod = "KUBERNETES_SERVICE_HOST" in environ
        setters: dict[Key, str] = {}
        for name in sorted(name for name in environ if name.startswith(PREFIX)):
            if _NOT_SETTINGS.fullmatch(name) or (pod and _SERVICE_LINK.fullmatch(name)):
                continue
            key, is_file = _variable(name)
            try:
                value: Any = environ[name] if is_file else _from_text(key, environ[name])
            except ValueError as error:
                self._wrong(name, key, str(error))
                continue
            for path in [path for path, _ in _properties(key, value)] if key in _MAPS else [key]:
                if path in setters:
                    self._wrong(f"{setters[path]} and {name}", path, "is set by both")
                setters[path] = name
            try:
                self._take(key, _secret(cwd / value) if is_file else value, name, {})
            except ValueError as error:
                self._wrong(name, key, str(error))

    def read_flags(self, flags: Mapping[str, Any]) -> None:
        """Take flags under their dotted keys; None means that the flag was not given."""
        for name, value in flags.items():
            if value is None:
                continue
            key = _normal(tuple(name.split(".")))
            try:
                self._take(key, _from_text(key, value) if isinstance(value, str) else value, _FLAG, {})
            except ValueError as error:
                self._wrong(_FLAG, key, str(error))

    def distrust_dropped(self, cwd: Path) -> None:
        """Ignore a settings file in the drop folder (`lists.folder`), where others may write. Call it last."""
        folder = self._given.get(("lists", "folder"))
        if self._file is None or folder is None or not isinstance(folder.value, str) or not folder.value:
            return
        name, path = self._file
        dropped = _real(cwd / folder.value)
        locations = (_real(path), _real(path.parent) / path.name)  # the target of a link, and the link itself
        if not any(dropped in location.parents for location in locations):
            return
        self.problems.append(
            f"{cut(name)} lies in lists.folder, where others hand over files: it is not read. Keep it elsewhere, and"
            " start where it is or name it with --config"
        )
        self._given = {
            key: given for key, given in self._given.items() if not f"{given.where}:".startswith(f"{name}:")
        }

    def settings(self) -> Settings | None:
        """The settings, with the default for each one that is wrong; None when these are wrong too."""
        refused: set[Key] = set()
        while True:
            nested: dict[str, dict[str, Any]] = {}
            for (section, name, *rest), given in self._given.items():
                table = nested.setdefault(section, {})
                if rest:
                    table.setdefault(name, {})[rest[0]] = given.value
                else:
                    table[name] = given.value
            try:
                return Settings.model_validate(nested)
            except ValidationError as error:
                at_fault = [key for each in error.errors() for key in self._refuse(each, refused)]
            if refused.issuperset(at_fault):
                return None
            refused.update(at_fault)
            for key in at_fault:
                self._given.pop(key, None)

    def origins(self) -> dict[str, str]:
        """For each dotted key and each client property: where its value comes from."""
        places = {key: self._given[key].where if key in self._given else "default" for key in _TYPES}
        for side in _MAPS:
            inside = {key: given.where for key, given in sorted(self._given.items()) if key[:2] == side}
            if inside:
                places |= {side: ", ".join(dict.fromkeys(inside.values())), **inside}
        return {".".join(key): where for key, where in places.items()}

    def _take(self, key: Key, value: Any, where: str, places: Mapping[Key, str]) -> None:
        if key[:2] in _MAPS:
            paths: set[Key] = set()
            for path, text in _properties(key, value):
                location = places.get(path, where)
                if text is None:
                    self._wrong(
                        location,
                        path,
                        _NOT_PROPERTIES if path in _MAPS else "should be text, a number, true or false",
                    )
                elif path in paths:
                    self._wrong(location, path, "is given twice")
                else:
                    paths.add(path)
                    self._given[path] = _Given(text, location)
        elif key in _TYPES and isinstance(value, str) and "\0" in value:
            self._wrong(where, key, "holds a NUL character")  # which no path may
        elif key in _TYPES:
            self._given[key] = _Given(value, where)
        else:
            self._unknown(where, key)

    def _refuse(self, error: ErrorDetails, refused: set[Key]) -> list[Key]:
        """Note an error of the model, unless it follows from a value that was refused before. Returns the keys at
        fault."""
        loc: Key = tuple(str(part) for part in error["loc"])
        secret = loc[:2] in _MAPS
        key_parts = [str(part).split(".") for part in error.get("ctx", {}).get("keys", ())]
        together: list[Key] = [(*loc[:1], *part) for part in key_parts]
        parts = together or [loc[: 3 if secret else 2]]
        given = [key for key in parts if key in self._given]
        where = self._given[given[-1]].where if given else "default"
        if together and not refused.intersection(together):
            self.problems.append(f"{where}: {' and '.join(map(dotted, together))} {error['msg']}")
        elif not together:
            name = loc if parts[0] == ("fanout", "targets") else parts[0]
            self._wrong(where, name, reason(error, secret=secret or loc[:2] in _SECRET))
        return given or parts

    def _wrong(self, where: str, key: Key, text: str) -> None:
        self.problems.append(f"{where}: {dotted(key)} {text}")

    def _unknown(self, where: str, key: Key) -> None:
        if where.startswith(PREFIX):
            self.problems.append(f"{where}: is not a setting{nearest(where, _VARIABLES)}")
        else:
            self.problems.append(f"{where}: {dotted(key)} is not a setting{nearest('.'.join(key), _NAMES)}")


def _real(path: Path) -> Path:
    """The path without links. Unlike `Path.resolve`, it raises nothing for links that go in circles."""
    return Path(os.path.realpath(path))


def _need_own(path: Path) -> None:
    """Raises ValueError if every user may write the file or its folder."""
    for each in (path.parent, path):
        if path.exists() and each.stat().st_mode & stat.S_IWOTH:
            raise ValueError(
                "is not read: every user may write "
                + ("it" if each == path else "where it is")
                + ". Name it with --config if it is yours"
            )


def _parsed(name: str, text: str) -> tuple[dict[str, Any], dict[Key, str]]:
    """A settings file's tables, and the place of each key. Raises ValueError, with the place, for text that is not
    TOML."""
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"{name}:1: is nested too deeply") from None
    except ValueError as error:
        line, why = syntax_error(text, error)
        raise ValueError(f"{name}:{line}: is not TOML: {why}") from error
    places: dict[Key, str] = {}
    for path, line in TomlLines(text).paths.items():
        places.setdefault(_normal(tuple(map(str, path))), f"{name}:{line}")
    return tables, places


def _normal(key: Key) -> Key:
    """The key in its one form: a client property is one name, with all its dots, whether or not the file quoted
    it."""
    return (*key[:2], ".".join(key[2:])) if key[:2] in _MAPS and len(key) > 2 else key


def _variable(name: str) -> tuple[Key, bool]:
    """The key that an environment variable sets, and whether it names a file that holds the value."""
    key = tuple(name.removeprefix(PREFIX).lower().split("__"))
    if len(key) != 3 or key[:2] not in _MAPS:
        return key, False
    property_ = key[2].replace("_", ".")
    is_file = property_.endswith(".file") and property_ not in _FILE_PROPERTIES
    return (*key[:2], property_.removesuffix(".file") if is_file else property_), is_file


def _from_text(key: Key, text: str) -> Any:
    """A text as the type of its key. Other text than a number stays text, and the model refuses it."""
    kind = _TYPES.get(key)
    kinds = {get_origin(each) for each in (kind, *get_args(kind))}
    is_list = tuple in kinds and text.lstrip().startswith("[")
    if key in _MAPS or is_list or key in _TABLES:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("should be JSON") from None
    if get_origin(kind) is tuple:
        return [part.strip() for part in text.split(",")]
    if kind in (int, float):
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                continue
    return text


def _properties(key: Key, value: Any) -> Iterator[tuple[Key, str | None]]:
    """Client properties as texts, whatever their type in the source. Nested tables give dotted names. None marks a
    value that cannot be a property."""
    match value:
        case Mapping():
            for name, inner in value.items():
                yield from _properties(_normal((*key, name)), inner)
        case bool() if key not in _MAPS:
            yield key, str(value).lower()
        case str() if key not in _MAPS:
            yield key, value
        case int() | float() if key not in _MAPS and abs(value) < 1 << 63:  # false for nan and inf
            yield key, str(value)
        case _:
            yield key, None


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_BYTES_MAX + 1)
    if len(content) > _BYTES_MAX:
        raise ValueError("is over 1 MiB")
    return content.decode("utf-8-sig")


def _secret(path: Path) -> str:
    try:
        return _text(path).removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError) as error:
        raise ValueError(f"names a file that {unreadable(error)}") from None
