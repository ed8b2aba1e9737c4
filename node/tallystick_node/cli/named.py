"""What people hand to a command by the name of Python code: `MODULE` or `MODULE:NAME`, also from the present folder."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import click

from tallystick.schemas import Known, SchemaKnowledge, Upcaster


def knowledge(text: str) -> list[SchemaKnowledge]:
    """The upcasters, and what else is known of schemas, of a module, or of one name in it: one thing or a list.

    Raises:
        click.BadParameter: there is no such module or name, it cannot be imported, or nothing of that kind in it.
    """
    module, name = _module(text)
    found = vars(module).values() if not name else [_attribute(module, name)]
    listed = [part for item in found for part in (item if name and isinstance(item, Sequence) else [item])]
    known = [item for item in listed if isinstance(item, Known | Upcaster)]
    if not known or (name and len(known) != len(listed)):
        raise click.BadParameter(f"{text} holds no upcasters (see tallystick.schemas)")
    return list({id(item): item for item in known}.values())


def model(text: str) -> object:
    """What a name in a module is: a Pydantic model, if it is right.

    Raises:
        click.BadParameter: there is no such name.
    """
    module, name = _module(text)
    if not name:
        raise click.BadParameter(f"which model of {text}? Say {text}:NAME")
    return _attribute(module, name)


def _module(text: str) -> tuple[ModuleType, str]:
    module_name, _, name = text.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module_name), name
    except (ImportError, SyntaxError) as error:
        raise click.BadParameter(f"{module_name}: {error}") from error


def _attribute(module: ModuleType, name: str) -> object:
    if not hasattr(module, name):
        raise click.BadParameter(f"{module.__name__} has no {name}")
    found: object = getattr(module, name)
    return found
