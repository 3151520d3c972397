"""Read file and environment into one tree of plain values, and remember which came from the environment.

Called by load. The file is YAML as yaml_text.py reads it. The environment names a key as BQGATE_<SECTION>__<KEY>, and a
key of a tier, customer or issuer as BQGATE_TIERS__<NAME>__<KEY>; with _FILE behind it, the variable names a file that
holds the value (value_files.py). Variables without a double underscore are not ours: Kubernetes makes some
(BQGATE_SERVICE_HOST) for a service named bqgate. What leaves: a Document, with the faults that were met on the way.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bqgate.policies.messages import unknown_key
from bqgate.settings.faults import Fault
from bqgate.settings.sections import BUILT_IN_TIERS, NAMED_SECTIONS, SECTIONS
from bqgate.settings.value_files import PREFIX, names_a_file, read_value, without_suffix
from bqgate.settings.yaml_text import load_yaml

Tree = dict[str, Any]


@dataclass(slots=True)
class Document:
    """Everything that was given. `sources` names the environment variable by the path that it set.

    `lacks_file`: a file was named, and nothing of it can be used.
    """

    tree: Tree
    sources: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    lacks_file: bool = False


def read_document(path: Path | None, environ: Mapping[str, str]) -> Document:
    """The built-in tiers, below the file, below the environment."""
    document = Document({"tiers": {name: dict(tier) for name, tier in BUILT_IN_TIERS.items()}})
    if path is not None:
        try:
            given, document.faults = parse_yaml(path.read_text(encoding="utf-8"))
        except OSError as error:
            why = f"cannot be read: {error.strerror}; name a file that this user can read (--config or BQGATE_CONFIG)"
            document.faults.append(Fault(str(path), why))
            document.lacks_file = True
        except ValueError as error:
            is_text_fault = isinstance(error, UnicodeDecodeError)
            why = "it is not text in UTF-8; save it in that encoding" if is_text_fault else str(error)
            document.faults.append(Fault(str(path), f"cannot be read: {why}"))
            document.lacks_file = True
        else:
            document.lacks_file = bool(document.faults) and not given
            _lay_over(document, given)
    _lay_environment_over(document, environ)
    return document


def parse_yaml(text: str) -> tuple[Tree, list[Fault]]:
    """The mapping that a YAML text holds; faults have the line as their path."""
    try:
        tree, faults = load_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return {}, [Fault(f"line {mark.line + 1}" if mark else "file", f"is not YAML: {_problem_of(error)}")]
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # control characters, endless numbers or nesting
        return {}, [Fault("file", f"is not YAML: {' '.join(str(error).split())}")]
    if tree is None:
        return {}, faults
    if not isinstance(tree, dict):
        return {}, [Fault("file", "must be a mapping of sections, like server: {port: 8080}")]
    return tree, faults


def _problem_of(error: yaml.MarkedYAMLError) -> str:
    if error.context == "while scanning an alias":  # what everybody writes first who means each one
        return 'a bare * begins a reference; quote it, like "*"'
    return str(error.problem)


def _lay_over(document: Document, given: Tree) -> None:
    """Put what the file says over what is built in; single keys of a built-in tier may be changed."""
    built_in = document.tree["tiers"]
    document.tree.update({name: {} if section is None else section for name, section in given.items()})
    tiers = document.tree["tiers"]
    if isinstance(tiers, dict):
        changed = {
            name: {**built_in[name], **(tier or {})} if name in built_in and isinstance(tier, dict | None) else tier
            for name, tier in tiers.items()
        }
        document.tree["tiers"] = {**built_in, **changed}


def variables_of(environ: Mapping[str, str]) -> list[str]:
    """Those of the environment that are settings."""
    return sorted(name for name in environ if name.startswith(PREFIX) and "__" in name)


def _lay_environment_over(document: Document, environ: Mapping[str, str]) -> None:
    for variable in variables_of(environ):
        path = _path_of(variable, document)
        if path is None:
            continue
        value = environ[variable]
        if names_a_file(path[0], path[-1]):
            path = without_suffix(path)
            try:
                value = _value_in(Path(value), path, document)
            except ValueError as fault:
                document.faults.append(Fault(variable, str(fault)))
                continue
        target: Any = document.tree
        for name in path[:-1]:
            target = target.setdefault(name, {})
            if not isinstance(target, dict):
                break  # the file has a fault there, which is reported for the file
        else:
            target[path[-1]] = value
            document.sources[".".join(path)] = variable


def _value_in(file: Path, path: tuple[str, ...], document: Document) -> str:
    """What a file holds for a path that no other variable sets; ValueError with what is wrong."""
    rival = document.sources.get(".".join(path))  # sorted, so that the variable without _FILE came first
    if rival is not None:
        raise ValueError(f"and {rival} set the same key; leave one of them out")
    return read_value(file)


def _path_of(variable: str, document: Document) -> tuple[str, ...] | None:
    """The path that a variable sets; None after noting the fault."""
    section, *keys = variable.removeprefix(PREFIX).lower().split("__")
    if section in SECTIONS and len(keys) == 1:
        return (section, *keys)
    if section in NAMED_SECTIONS and len(keys) == 2:
        entries = document.tree.get(section)
        matching = [
            name
            for name in (entries if isinstance(entries, dict) else ())
            if _as_variable(name) == _as_variable(keys[0])
        ]
        if len(matching) == 1:
            return (section, matching[0], keys[1])
        message = f"sets a key of {len(matching)} of the {section} in the file; it must be exactly one"
    elif section in SECTIONS or section in NAMED_SECTIONS:
        kind = "<NAME>__<KEY>" if section in NAMED_SECTIONS else "<KEY>"
        message = f"must be written {PREFIX}{section.upper()}__{kind}"
    else:
        message = unknown_key([*SECTIONS, *NAMED_SECTIONS], section)
    document.faults.append(Fault(variable, message))
    return None


def _as_variable(name: object) -> str:
    """A name of the file as it can stand in a variable."""
    return re.sub(r"[^a-z0-9]", "_", str(name).lower())
