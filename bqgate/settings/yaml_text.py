"""Read YAML with the scalars of YAML 1.2's core schema, and note keys that are written twice.

Called by document. With that schema (https://yaml.org/spec/1.2.2/#103-core-schema) `off` is a word, not false, and 1:30
is no number. Texts are taken apart by libyaml, where PyYAML has it, in a quarter of the time, which counts where there
are thousands of customers. It says in other words what is wrong, so a text that it refuses is read by PyYAML's own
parser. What is taken apart is put together in Python either way, where what is nested without end is an error; in C it
would be a crash.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from bqgate.settings.faults import Fault

try:
    from yaml._yaml import CParser
except ImportError:  # a PyYAML that was built without libyaml
    from yaml.loader import SafeLoader as CParser  # type: ignore[assignment]  # it has a parser, too


class _Plain(yaml.SafeLoader):
    """PyYAML's own parser."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own protocol

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.faults: list[Fault] = []


class _Fast(Composer, CParser, SafeConstructor, Resolver):
    """The same, with libyaml's parser."""

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self.faults: list[Fault] = []


def load_yaml(text: str) -> tuple[Any, list[Fault]]:
    """What a text says, and faults, which have the line as their path.

    Raises:
        yaml.YAMLError, ValueError, RecursionError: it is not YAML.
    """
    try:
        return _load(_Fast(text))
    except (yaml.YAMLError, ValueError, RecursionError):
        return _load(_Plain(text))


def _load(loader: _Fast | _Plain) -> tuple[Any, list[Fault]]:
    return loader.get_single_data(), loader.faults


def _construct_mapping(loader: Any, node: yaml.MappingNode) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = f"line {key_node.start_mark.line + 1}"
        key: Hashable = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            loader.faults.append(Fault(line, f'key {key!r} must be text; quote it, like "{key}"'))
            continue
        if key in mapping:
            loader.faults.append(Fault(line, f"key {key!r} is written twice; the first would be lost"))
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_SCALARS = (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
)
for _name, _pattern, _first in _SCALARS:
    _Plain.add_implicit_resolver(
        f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), ["" if each == "\0" else each for each in _first]
    )
_Plain.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Fast.yaml_implicit_resolvers = _Plain.yaml_implicit_resolvers
_Fast.yaml_constructors = _Plain.yaml_constructors
