"""Tell raises apart, find the one that is posted again, and end one. Pure.

Used by the control plane's views of raises and by budgets.py. A raise's id follows from what it says, so that raises of
the settings file have one, too, and nobody has to keep it. What is posted again while it runs, after a timeout or by a
second click, is the same raise: where the caller gave it a request_id, that decides, else all that it says. A raise
with a request_id that an admin ended is remembered until it would have been over: a script that repeats must not bring
it back.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import sha256

from bqgate.policies.budget_models import IncreasePolicy

_ID_CHARS = 16
_OF_ITS_END = {"ended_at", "ended_by"}


def end_of(raised: IncreasePolicy) -> datetime:
    """When it is over: as it says, or when an admin ended it before that."""
    return raised.until if raised.ended_at is None else min(raised.until, raised.ended_at)


def running(raises: Iterable[IncreasePolicy], now: datetime) -> tuple[IncreasePolicy, ...]:
    """Those that are not over."""
    return tuple(each for each in raises if now < end_of(each))


def remembered(raises: Iterable[IncreasePolicy], now: datetime) -> tuple[IncreasePolicy, ...]:
    """Those that are not over, and those that an admin ended and a script may still repeat."""
    return tuple(each for each in raises if now < (each.until if each.request_id is not None else end_of(each)))


def increase_ids(raises: Sequence[IncreasePolicy]) -> tuple[str, ...]:
    """An id for each, also where several say the same; it stays when one is ended."""
    seen: Counter[str] = Counter()
    ids = []
    for each in raises:
        said = json.dumps(each.model_dump(mode="json", exclude=_OF_ITS_END), sort_keys=True)
        digest = sha256(f"{seen[said]}:{said}".encode()).hexdigest()
        seen[said] += 1
        ids.append(digest[:_ID_CHARS])
    return tuple(ids)


def find_repeated(raised: IncreasePolicy, raises: Sequence[IncreasePolicy], now: datetime) -> IncreasePolicy | None:
    """The raise that runs and that this one repeats; None: it is a new one.

    Raises:
        ValueError: its request_id was given to a raise by another amount, or to one that an admin ended.
    """
    if raised.request_id is None:
        return next((each for each in running(raises, now) if each == raised), None)
    for each in remembered(raises, now):
        if (each.request_id, each.by) != (raised.request_id, raised.by):
            continue
        if (each.daily_usd, each.monthly_usd) != (raised.daily_usd, raised.monthly_usd):
            raise ValueError("was given to a raise by another amount; give each raise one of its own")
        if end_of(each) <= now:
            raise ValueError(f"was given to a raise that {each.ended_by} ended; to raise again give another one")
        return each
    return None
