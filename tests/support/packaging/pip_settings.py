"""The settings of this machine's pip, handed to a build as secrets and to uv as variables, so that both reach packages
in the same way."""

import ast
import configparser
import os
import subprocess
import sys
from pathlib import Path

CERTIFICATE = "/run/secrets/pip.pem"  # where the build of the Containerfile finds the secret of that name
# Without a certificate of its own pip trusts those that these name.
TRUSTED = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def secrets(folder: Path) -> list[str]:
    """Arguments for the builder; the files behind them are written into `folder`. Folders of wheels are mounted."""
    told = _effective()
    trusted = told.get("global", {}).pop("cert", "") or next(
        (os.environ[name] for name in TRUSTED if os.environ.get(name)), ""
    )
    arguments = []
    if trusted and Path(trusted).is_file():
        told.setdefault("global", {})["cert"] = CERTIFICATE
        arguments += ["--secret", f"id=pip.pem,src={trusted}"]
    for wheels in told.get("global", {}).get("find-links", "").split():
        if Path(wheels).is_dir() and any(Path(wheels).iterdir()):
            arguments += ["--volume", f"{Path(wheels).resolve()}:{wheels}:ro"]
    file = configparser.RawConfigParser()
    file.read_dict(told)
    path = folder / "pip.conf"
    with path.open("w") as written:
        file.write(written)
    path.chmod(0o600)
    return [*arguments, "--secret", f"id=pip.conf,src={path}"]


def for_uv() -> dict[str, str]:
    """The same for uv, which reads no settings of pip: variables of an environment."""
    told = _effective()["global"]
    names = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "find-links": "UV_FIND_LINKS",
        "cert": "SSL_CERT_FILE",
    }
    return {variable: told[name] for name, variable in names.items() if told.get(name)}


def _effective() -> dict[str, dict[str, str]]:
    """The settings by section, as pip itself reports them: those of files, and over them the variables PIP_*."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, dict[str, str]] = {}
    from_variables = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.partition(".")
        text = str(ast.literal_eval(value))
        if section == ":env:":
            from_variables[key.removeprefix(".")] = text
        else:
            found.setdefault(section, {})[key] = text
    found.setdefault("global", {}).update(from_variables)
    return found
