"""Read YAML with the scalars of YAML 1.2's core schema, and note keys that are written twice.

Called by document. With that schema (https://yaml.org/spec/1.2.2/#103-core-schema) `off` is a word, not false, and 1:30
is no number. Texts are taken apart by libyaml, where PyYAML has it, and values made of the parts as they come, with no
tree between: that takes a twelfth of the time and half the memory, which counts where there are thousands of customers.
What settings seldom have, a tag or a key that is no text, is left to PyYAML's own parser, and so is whatever is wrong:
libyaml says it in other words. Values are made in Python either way, where what is nested without end is an error; in C
it would be a crash.
"""

import re
from collections.abc import Callable, Hashable
from typing import Any, NoReturn

import yaml
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


class _Fast(CParser, SafeConstructor, Resolver):
    """The same by libyaml's parser, for texts without what is seldom."""

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)
        self.faults: list[Fault] = []
        self._next: Callable[[], Any] = self.get_event
        self._anchored: dict[str, Any] = {}

    def get_single_data(self) -> Any:
        """The value of the text's one document; None where there is none."""
        self.get_event()  # the stream begins
        if self.check_event(yaml.StreamEndEvent):
            return None
        self.get_event()  # its document begins
        value = self._value(self.get_event())
        self.get_event()  # its document ends
        return value if self.check_event(yaml.StreamEndEvent) else _leave("more than one document")

    def _value(self, event: Any) -> Any:
        """What begins with an event: a scalar is it, a list or a mapping has all events up to its end."""
        if isinstance(event, yaml.AliasEvent):
            return self._anchored[event.anchor] if event.anchor in self._anchored else _leave("an unknown alias")
        if event.tag is not None or event.anchor in self._anchored:
            _leave("a tag, or an anchor's second place")
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
            while not isinstance(part := self._next(), yaml.SequenceEndEvent):
                value.append(self._value(part))
        else:
            value = self._mapping()
        if event.anchor is not None:
            self._anchored[event.anchor] = value
        return value

    def _scalar(self, event: Any) -> Any:
        tag = self.resolve(yaml.ScalarNode, event.value, event.implicit)  # type: ignore[no-untyped-call]  # PyYAML's
        if tag == _TEXT:
            return event.value
        return self.yaml_constructors[tag](self, yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark))

    def _mapping(self) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._value(event)
            if not isinstance(key, str):
                _leave("a key that is no text")
            if key in mapping:
                self.faults.append(_twice(event.start_mark, key))
            mapping[key] = self._value(self._next())
        return mapping


def _leave(what: str) -> NoReturn:
    """Leave a text to PyYAML's own parser."""
    raise yaml.YAMLError(what)


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
        key: Hashable = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            line = f"line {key_node.start_mark.line + 1}"
            loader.faults.append(Fault(line, f'key {key!r} must be text; quote it, like "{key}"'))
            continue
        if key in mapping:
            loader.faults.append(_twice(key_node.start_mark, key))
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


def _twice(mark: Any, key: str) -> Fault:
    return Fault(f"line {mark.line + 1}", f"key {key!r} is written twice; the first would be lost")


_TEXT = "tag:yaml.org,2002:str"
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
