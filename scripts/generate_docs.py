"""Writes the reference pages that are made from code: errors, limits, configuration.

`render()` gives the text of each page by its path below docs/. `python scripts/generate_docs.py` writes them; `--check`
writes nothing, names what is stale and exits 1 if anything is. `make proto` and `make lint` do the same.

Rules of this file:
- A page holds nothing that is not in the code: prose about it belongs to the other pages.
- The same code gives the same text.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Final

from tallystick import errors
from tallystick.errors import REASONS, TallystickError
from tallystick_node.config.settings import SETTINGS, AnySetting
from tallystick_node.config.values import NodeConfig
from tallystick_node.consensus import settings
from tallystick_node.contexts import limits as context_limits
from tallystick_node.core import limits
from tallystick_node.peers import limits as peer_limits
from tallystick_node.peers.contexts import limits as peer_context_limits

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
NOTE: Final = "<!-- Made from {source} by scripts/generate_docs.py: change the code and run `make proto`. -->"

_ERRORS_HEAD: Final = """# Errors

Every error is a `tallystick.TallystickError` with `reason` (the code to match on), `message` (a sentence for people,
which may change), `metadata` (details by name, all strings) and `advice` (what to do next). On the wire it is in
`google.rpc.ErrorInfo` of the domain `{domain}`. What follows from each class: [promises](../explanation/promises.md).
"""

_LIMITS_HEAD: Final = """# Limits

What goes beyond a limit is refused by name; nothing is cut short, and nothing is unbounded.

## Of what agents store
One marked *Decided* is part of the log format: it changes only with a new one. The others are checked before anything
is proposed, and may change from release to release.
"""

_CONFIGURATION_HEAD: Final = """# Configuration of a node

Each setting is a flag of `tallystick serve`, an environment variable, or a key of the TOML file that `--config` or
`TALLYSTICK_CONFIG` names. Flags override variables, which override the file. How they are used:
[configure a node](../how-to/configure.md).
"""

_DERIVED: Final = {
    "advertise_client": "this node's client endpoint in `members`, or else `client_address`",
    "advertise_peer": "this node's peer endpoint in `members`, or else `peer_address`",
    "members": "this node alone",
    "tls_peer_ca": "`tls_ca`",
    "tls_peer_cert": "`tls_cert`",
    "tls_peer_key": "`tls_key`",
}
"""Defaults that `load` derives: a row of the table cannot show them."""

_BYTE_UNITS: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def render() -> Mapping[str, str]:
    """The pages, by path below docs/."""
    return {
        "reference/errors.md": _errors_page(),
        "reference/limits.md": _limits_page(),
        "reference/configuration.md": _configuration_page(),
    }


def stale() -> list[str]:
    """The pages whose files are missing or say something else."""
    pages = render()
    return [name for name in sorted(pages) if not _says(DOCS / name, pages[name])]


def write() -> None:
    """Writes every page."""
    for name, text in render().items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _says(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _errors_page() -> str:
    lines = [
        NOTE.format(source="client/tallystick/errors.py"),
        _ERRORS_HEAD.format(domain=errors.ERROR_DOMAIN),
        "## Classes",
        *_table(("class", "a kind of", "meaning"), _class_rows(TallystickError)),
        "",
        "## Reasons",
        *_table(("reason", "class", "gRPC status", "what to do"), _reason_rows()),
    ]
    return "\n".join(lines) + "\n"


def _class_rows(error: type[TallystickError]) -> Iterator[tuple[str, ...]]:
    """A class and all below it, as the tree is drawn in the module."""
    parent = error.__bases__[0]
    above = f"`{parent.__name__}`"
    yield f"`{error.__name__}`", above, _first_paragraph(inspect.getdoc(error) or "")
    for child in error.__subclasses__():
        if child.__module__ == errors.__name__:  # whoever else is imported may have subclasses of its own
            yield from _class_rows(child)


def _reason_rows() -> Iterator[tuple[str, ...]]:
    for reason, row in REASONS.items():
        yield f"`{reason}`", f"`{row.error.__name__}`", f"`{row.status.name}`", row.advice


def _limits_page() -> str:
    lines = [
        NOTE.format(
            source="node/tallystick_node/core/limits.py, contexts/limits.py, consensus/settings.py and peers/limits.py"
        ),
        _LIMITS_HEAD,
        *_table(("limit", "value", "bounds"), _constant_rows(limits)),
        "",
        "## Of shared contexts",
        *_table(("limit", "value", "bounds"), _constant_rows(context_limits)),
        "",
        "## Of consensus",
        *_table(("limit", "value", "bounds"), _constant_rows(settings)),
        "",
        "## Between nodes",
        *_table(
            ("limit", "value", "bounds"),
            itertools.chain(_constant_rows(peer_limits), _constant_rows(peer_context_limits)),
        ),
    ]
    return "\n".join(lines) + "\n"


def _constant_rows(module: ModuleType) -> Iterator[tuple[str, ...]]:
    """The constants of a module, each with the text that follows it."""
    body = ast.parse(inspect.getsource(module)).body
    for statement, following in itertools.pairwise(body):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        text = following.value if isinstance(following, ast.Expr) else None
        if not isinstance(text, ast.Constant) or not isinstance(text.value, str):
            raise SystemExit(f"{module.__name__}.{statement.target.id} does not say what it bounds")
        value: object = getattr(module, statement.target.id)
        yield f"`{statement.target.id}`", _value(statement.target.id, value), _one_line(text.value)


def _configuration_page() -> str:
    lines = [
        NOTE.format(source="node/tallystick_node/config/settings.py"),
        _CONFIGURATION_HEAD,
        *_table(("key", "flag", "variable", "default", "meaning"), map(_setting_row, SETTINGS)),
    ]
    return "\n".join(lines) + "\n"


def _setting_row(setting: AnySetting) -> tuple[str, ...]:
    return f"`{setting.name}`", f"`{setting.flag}`", f"`{setting.variable}`", _default(setting), setting.help


def _default(setting: AnySetting) -> str:
    if setting.name in _DERIVED:
        return _DERIVED[setting.name]
    if setting.default is None:
        return "required" if setting.name in _required() else "none"
    if isinstance(setting.default, bool):
        return f"`{str(setting.default).lower()}`"
    return _value(setting.name, setting.default)


def _required() -> frozenset[str]:
    """The settings that `NodeConfig` has no default for."""
    return frozenset(name for name in NodeConfig.__annotations__ if not hasattr(NodeConfig, name))


def _value(name: str, value: object) -> str:
    """A value for people: units spelled out where the name has one."""
    if isinstance(value, float):
        return f"`{value:g}` s" if name.lower().endswith("_s") else f"`{value:g}`"
    if not isinstance(value, int):
        return f"`{value}`"
    if not name.lower().endswith("_bytes"):
        return f"`{value}`"
    for size, unit in _BYTE_UNITS:
        if value >= size and value % size == 0:
            return f"`{value}` ({value // size} {unit})"
    return f"`{value}`"


def _table(columns: tuple[str, ...], rows: Iterator[tuple[str, ...]] | map[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _first_paragraph(text: str) -> str:
    return _one_line(text.partition("\n\n")[0])


def _one_line(text: str) -> str:
    return " ".join(text.split())


def main() -> int:
    """Writes, or compares with what is committed."""
    if "--check" not in sys.argv[1:]:
        write()
        return 0
    names = stale()
    for name in names:
        print(f"stale: docs/{name} (run `make proto`)", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
