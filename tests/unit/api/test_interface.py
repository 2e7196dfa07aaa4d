"""The public interface: what it is, held as a text, and what loading it costs."""

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import stream_scrub
from stream_scrub import api, dialler, producer

GOLDEN = Path(__file__).parents[2] / "golden" / "api.txt"
HEAVY = ("numpy", "pydantic", "confluent_kafka", "pyroaring", "phonenumbers", "msgspec", "structlog", "typer")


def shown(node: ast.stmt, *, positional: bool) -> str | None:
    """A public member of a class as its source declares it, on one line; None for what is none."""
    match node:
        case ast.FunctionDef(name=name) if not name.startswith("_"):
            marks = "".join(f"@{ast.unparse(mark)} " for mark in node.decorator_list)
            if positional:
                node.args.kwonlyargs, node.args.kw_defaults = [], []
            returned = ast.unparse(node.returns) if node.returns else "None"
            return f"    {marks}{name}({ast.unparse(node.args)}) -> {returned}"
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.Call(func=ast.Name(id="_fact"))):
            return f"    {name}: {ast.unparse(node.annotation)} = ..."  # its help texts are no interface
        case ast.AnnAssign(target=ast.Name(id=name)) if not name.startswith("_"):
            return f"    {ast.unparse(node)}"
        case ast.Assign(targets=[ast.Name(id=name)]) if not name.startswith("_"):
            return f"    {ast.unparse(node)}"
        case _:
            return None


def described(name: str, module: ModuleType = stream_scrub) -> list[str]:
    """One public name with all that a program may rely on. The rest of `scrub`'s arguments are the worker's own."""
    value = getattr(module, name)
    if not inspect.isclass(value):
        return [f"{name}: {type(value).__name__}"]
    lines = [f"{name}({', '.join(base.__name__ for base in value.__bases__)})"]
    (declared,) = ast.parse(inspect.getsource(value)).body
    members = (shown(each, positional=value is stream_scrub.Scrubber) for each in declared.body)
    return lines + [each for each in members if each is not None]


def interface() -> str:
    """All public names, of the package and of the diallers' and producers' modules."""
    lines = [line for name in stream_scrub.__all__ for line in described(name)]
    for module in (dialler, producer):
        lines += ["", module.__name__, *(line for name in module.__all__ for line in described(name, module))]
    return "\n".join(lines) + "\n"


def test_the_interface_is_what_it_was():
    """A program that embeds it would break with a new release. A change here is a change of the contract: say it in the
    changelog, and write the text anew with `python -m tests.unit.api.test_interface`."""
    assert interface() == GOLDEN.read_text()


def test_every_name_is_there_documented_and_the_same_everywhere():
    """A program would import a name that the pages show and find none, or another thing."""
    assert set(api.__all__) | {"__version__"} == set(stream_scrub.__all__) <= set(dir(stream_scrub))
    for name in api.__all__:
        assert getattr(stream_scrub, name) is getattr(api, name)
        assert inspect.getdoc(getattr(api, name))


def test_importing_loads_nothing_that_is_not_needed():
    """Every program that imports it would wait for libraries, or a client that opens threads, that it may never need."""
    code = "import json, sys; import stream_scrub; print(json.dumps(sorted(sys.modules)));"
    code += "from stream_scrub import Checker; print('confluent_kafka' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    names, has_kafka = told.splitlines()
    loaded = json.loads(names)

    assert [name for name in loaded if name.startswith("stream_scrub")] == ["stream_scrub"]
    assert not set(HEAVY) & set(loaded) and has_kafka == "False"


def test_what_is_not_public_is_no_attribute():
    """A mistyped name would be None, or another module's, instead of an error at once."""
    assert not hasattr(stream_scrub, "Chekcer")


if __name__ == "__main__":
    GOLDEN.write_text(interface())
