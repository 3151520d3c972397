"""Tell the gate's labels on a job from the caller's, and keep all of them within BigQuery's bounds.

Used when a job is read, when it is sent on, and when a job is looked for. A label that begins with bqgate_ is the
gate's: whatever a caller sends under such a name is dropped, in every kind of job. Bounds: 64 labels, keys and values
of at most 63 characters, no capitals (https://cloud.google.com/bigquery/docs/labels-intro#requirements). A query can
get labels past the field `labels`, from the connection property query_label and from SET @@query_label; where either
names one of the gate's in plain sight it is refused. Errors: MalformedRequest in Google's words.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from unicodedata import category

from bqgate.domain.errors import MalformedRequest
from bqgate.domain.job import Method, QueryRequest
from bqgate.domain.sql_facts import SqlFacts
from bqgate.wire.fields import wrong_type

# Labels that the gate sets on jobs; the first finds a job whose answer was lost.
HOLD_LABEL = "bqgate_hold"
WORKLOAD_LABEL = "bqgate_workload"
# A query that the gate runs for itself. Anybody may write it on a job past the gate: only its hold proves that.
OWN_LABEL = "bqgate_own"
# Whose job it is, where BigQuery takes all customers for one.
CUSTOMER_LABEL = "bqgate_customer"
# What became of a query that was slowed down or had to wait: for people, in the order in which they need it.
DECISION_LABEL = "bqgate_decision"
REASON_LABEL = "bqgate_reason"
WAITED_LABEL = "bqgate_waited_ms"
_NOTES = (DECISION_LABEL, REASON_LABEL, WAITED_LABEL)
GATE_LABEL_PREFIX = "bqgate_"
MAX_LABELS = 64
LABEL_CHARS_MAX = 63

QUERY_LABEL_PROPERTY = "query_label"
_SHOWN_CHARS_MAX = 64


def labels_at(holder: Mapping[str, Any], *, path: str = "") -> dict[str, str]:
    """The labels in a field of that name.

    Raises:
        MalformedRequest: they are no map of strings, more than 64, or one is not what BigQuery takes.
    """
    labels = holder.get("labels")
    if labels is None:
        return {}
    if not isinstance(labels, dict) or not all(isinstance(text, str) for text in labels.values()):
        raise wrong_type(f"{path}labels", "a map of strings")
    own = {key: value for key, value in labels.items() if not is_gates(key)}
    if len(own) > MAX_LABELS:
        raise too_many_labels(f"this job has {len(own)}", path)
    for key, value in own.items():
        _check(key, value, path)
    return dict(labels)


def with_callers_labels(document: Mapping[str, Any]) -> dict[str, Any]:
    """A submitted Job or QueryRequest, with no label of the gate's in either of the places that have labels.

    Raises:
        MalformedRequest: as labels_at.
    """
    body = _without_gates(document, "")
    configuration = body.get("configuration")
    if isinstance(configuration, dict):
        body["configuration"] = _without_gates(configuration, "configuration.")
    return body


def callers_labels(labels: Mapping[str, Any]) -> dict[str, str]:
    """The labels of a job of BigQuery's that are not the gate's."""
    return {key: value for key, value in labels.items() if isinstance(value, str) and not is_gates(key)}


def customer_label(customer: str) -> str:
    """The value of CUSTOMER_LABEL: a digest, because a customer's id need not have a label's form."""
    return sha256(customer.encode()).hexdigest()[:16]


def is_gates(key: str) -> bool:
    """Whether a label of this name is the gate's to set."""
    return key.strip().lower().startswith(GATE_LABEL_PREFIX)


def check_room(request: QueryRequest, *, workload: str | None) -> None:
    """Return when the labels that the gate needs find room beside the caller's: the hold's, and the workload's.

    Those of the connection property query_label count, for BigQuery adds them to the job's.

    Raises:
        MalformedRequest: they do not.
    """
    configuration = request.body.get("configuration") if request.method is Method.INSERT else request.body
    holder = configuration if isinstance(configuration, dict) else {}
    query = holder.get("query") if request.method is Method.INSERT else holder
    added = sum(len(value.split(",")) for value in _query_labels(query if isinstance(query, dict) else {}))
    needed = 1 if workload is None else 2
    if len(request.labels) + added + needed > MAX_LABELS:
        own = len(request.labels) + added
        path = "configuration." if request.method is Method.INSERT else ""
        raise too_many_labels(f"this job has {own}, and bqgate adds {needed}", path)


def check_other_labels(query: Mapping[str, Any], sql: str, facts: SqlFacts, *, path: str) -> None:
    """Return when neither a connection property nor the text of a query sets one of the gate's labels.

    A text that sets labels by what it composes or spells by escapes is not seen through: its labels are BigQuery's.

    Raises:
        MalformedRequest: one does.
    """
    labels = _query_labels(query)
    count = sum(value.count(",") + 1 for value in labels)
    if count > MAX_LABELS:
        raise too_many_labels(f"connectionProperties names {count}", path)
    named = [part for value in labels for part in value.split(",") if is_gates(part)]
    if named or (facts.sets_labels and GATE_LABEL_PREFIX in sql.lower()):
        raise MalformedRequest(
            f"Invalid query_label: labels that begin with {GATE_LABEL_PREFIX} are bqgate's.",
            field=f"{path}connectionProperties" if named else f"{path}query",
        )


def merged_labels(own: Mapping[str, str], labels: Mapping[str, str], notes: Mapping[str, str]) -> dict[str, str]:
    """The labels of a job that goes to BigQuery: the caller's, then the gate's, then notes for as far as there is room.

    The gate's always find theirs: by them a job is found again. Of the caller's that BigQuery would not take beside
    them, which `check_room` refuses before, the last are dropped.
    """
    kept = {key: value for key, value in own.items() if not is_gates(key) or key == CUSTOMER_LABEL}
    room = MAX_LABELS - len(labels)
    merged = {**dict(list(kept.items())[:room]), **labels}
    room = MAX_LABELS - len(merged)
    return merged | dict([(name, notes[name]) for name in _NOTES if name in notes][:room])


def _without_gates(holder: Mapping[str, Any], path: str) -> dict[str, Any]:
    if holder.get("labels") is None:
        return dict(holder)
    labels = labels_at(holder, path=path)
    return {**holder, "labels": {key: value for key, value in labels.items() if not is_gates(key)}}


def _query_labels(query: Mapping[str, Any]) -> list[str]:
    """The values of the property query_label: "key:value" once or several times, with commas between."""
    items = query.get("connectionProperties")
    if not isinstance(items, list):
        return []
    return [
        item["value"]
        for item in items
        if isinstance(item, dict)
        and str(item.get("key")).strip().lower() == QUERY_LABEL_PROPERTY
        and isinstance(item.get("value"), str)
    ]


def _check(key: str, value: str, path: str) -> None:
    if not 0 < len(key) <= LABEL_CHARS_MAX or not key[0].isalpha() or not all(map(_is_allowed, key)):
        raise MalformedRequest(f'Label key "{_shown(key)}" has invalid characters.', field=f"{path}labels")
    if len(value) > LABEL_CHARS_MAX or not all(map(_is_allowed, value)):
        raise MalformedRequest(f'Label value "{_shown(value)}" has invalid characters.', field=f"{path}labels")


def _is_allowed(character: str) -> bool:
    """A letter that is no capital, a mark that belongs to a letter, a digit, an underscore or a dash."""
    if character.isascii():
        return character.islower() or character.isdigit() or character in "_-"
    kind = category(character)
    return kind[0] in "LMN" and kind not in {"Lu", "Lt"}


def _shown(text: str) -> str:
    cut = text if len(text) <= _SHOWN_CHARS_MAX else f"{text[:_SHOWN_CHARS_MAX]}…"
    return "".join(character if character.isprintable() else "?" for character in cut)


def too_many_labels(said: str, path: str) -> MalformedRequest:
    """The error for more labels than BigQuery takes; `said` tells how many there are."""
    return MalformedRequest(f"The number of labels exceeds the limit of {MAX_LABELS}: {said}.", field=f"{path}labels")
