"""Where a test's clients connect, and as which user: the address of a plain Kafka, or all client properties for a
secured one."""

from collections.abc import Mapping
from pathlib import Path

from tests.support.names import unique_name

Address = str | Mapping[str, str]
_SECRETS = ("sasl.password",)


def properties(address: Address) -> dict[str, str]:
    """What a client of confluent_kafka needs."""
    return {"bootstrap.servers": address} if isinstance(address, str) else dict(address)


def settings(address: Address, folder: Path) -> dict[str, str]:
    """The same as settings of the product, in the form in which a pod gets them: secrets are files in `folder`."""
    given = properties(address)
    found = {"kafka__bootstrap_servers": given.pop("bootstrap.servers")}
    for name, value in given.items():
        key = f"kafka__client__{name.replace('.', '_')}"
        if name in _SECRETS:
            file = folder / f"secret-{unique_name()}"
            file.write_text(value + "\n")
            found[f"{key}_file"] = str(file)
        else:
            found[key] = value
    return found
