"""List, show, set and delete documents of one kind of the admin API: what tiers and customers have in common.

Called by the commands tiers and customers. Values are read as the settings file's would be, before anything is sent, so
that a slip is a sentence about one key and status 2. A change names the version that was read: what somebody else
changed meanwhile is not overwritten, but refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

import typer
from pydantic import TypeAdapter, ValidationError

from bqgate.cli.client import Caller, connected
from bqgate.cli.tables import print_json, print_list, print_one
from bqgate.policies.budget_models import Policy
from bqgate.policies.messages import message_of, unknown_key
from bqgate.policies.models import keys_around
from bqgate.settings.document import parse_yaml


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of document: `path` of its collection, `plural` the member that lists them, its keys, its columns."""

    noun: str
    plural: str
    model: type[Policy]
    columns: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"/admin/v1/{self.plural}"

    def path_of(self, name: str) -> str:
        return f"{self.path}/{quote(name, safe='')}"


def list_all(kind: Kind, caller: Caller, *, as_json: bool) -> None:
    """Print all of them."""
    with connected(caller) as plane:
        items = list(plane.items(kind.path, kind.plural))
    print_list(items, kind.columns, as_json=as_json)


def show(kind: Kind, name: str, caller: Caller, *, as_json: bool) -> None:
    """Print one."""
    with connected(caller) as plane:
        print_one(plane.read(kind.path_of(name)).content, as_json=as_json)


def set_keys(kind: Kind, name: str, words: Sequence[str], caller: Caller, *, as_json: bool) -> None:
    """Change keys of one, or create it where there is none."""
    changes = read_changes(kind, words)
    with connected(caller) as plane:
        found = plane.find(kind.path_of(name))
        if found is None:
            given = {key: value for key, value in changes.items() if value is not None}
            document = plane.change("POST", kind.path, {"name": name, **given})
        else:
            document = plane.change("PATCH", kind.path_of(name), changes, etag=found.etag)
        done = f"{'Created' if found is None else 'Changed'} {kind.noun} {document.content['name']}."
    if as_json:
        print_json(document.content)
        return
    typer.echo(done)
    print_one(document.content, as_json=False)


def delete(kind: Kind, name: str, caller: Caller) -> None:
    """Remove one; where the settings file has it too, the file's word holds again."""
    with connected(caller) as plane:
        found = plane.read(kind.path_of(name))
        plane.change("DELETE", kind.path_of(name), etag=found.etag)
    typer.echo(f"Deleted {kind.noun} {name}.")


def read_changes(kind: Kind, words: Sequence[str]) -> dict[str, Any]:
    """What "key=value" words say, as JSON values; "key=" takes a key's value away, [a, b] is a list."""
    changes: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise typer.BadParameter(f"{word!r} must be written key=value", param_hint="key=value")
        if key in changes:
            raise typer.BadParameter(f"{key} is given twice", param_hint="key=value")
        changes[key] = None if text == "" else _read_value(kind.model, key, text)
    return changes


def _read_value(model: type[Policy], key: str, text: str) -> Any:
    keys = model.model_fields
    if key not in keys:
        raise typer.BadParameter(f"{key}: {unknown_key(tuple(keys), key)}", param_hint="key=value")
    value: Any = text
    if text[0] in "[{":
        tree, faults = parse_yaml(f"{key}: {text}")
        if faults:
            raise typer.BadParameter(f"{key}: is no list as the settings file has them", param_hint="key=value")
        value = tree[key]
    annotated: Any = Annotated[keys[key].annotation, keys[key]]
    reader: TypeAdapter[Any] = TypeAdapter(annotated)
    try:
        return reader.dump_python(reader.validate_python(value), mode="json")
    except ValidationError as invalid:
        error = invalid.errors(include_url=False)[0]
        where = ".".join([key, *(str(part) for part in error["loc"])])
        raise typer.BadParameter(
            f"{where}: {message_of(error, keys_around(model, (key, *error['loc'])))}", param_hint="key=value"
        ) from None
