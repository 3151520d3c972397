"""Count how many wait for each name, and know who has the most, in constant time. Pure.

Used by the fair queue, which asks at every arrival in a full queue: a search through all would make refusing expensive.
"""

from collections import defaultdict


class Depths:
    """How many wait for each name."""

    def __init__(self) -> None:
        self._depth_of: dict[str, int] = {}
        self._names_at: defaultdict[int, dict[str, None]] = defaultdict(dict)
        self._most = 0

    def __len__(self) -> int:
        return len(self._depth_of)

    def of(self, name: str) -> int:
        """How many wait for this name."""
        return self._depth_of.get(name, 0)

    def deepest(self) -> str | None:
        """Who has the most; of several, who came to it first. None: nobody waits."""
        return next(iter(self._names_at[self._most])) if self._most else None

    def add(self, name: str) -> None:
        """One more."""
        self._move(name, self.of(name) + 1)

    def remove(self, name: str) -> None:
        """One less; there must be one."""
        assert self.of(name) > 0, "who leaves has waited"
        self._move(name, self.of(name) - 1)

    def _move(self, name: str, depth: int) -> None:
        old = self._depth_of.pop(name, 0)
        if old:
            del self._names_at[old][name]
            if not self._names_at[old]:
                del self._names_at[old]
        if depth:
            self._depth_of[name] = depth
            self._names_at[depth][name] = None
        # One step changes the most by one step: whoever left the top stands just below it.
        self._most = depth if depth > self._most or (old == self._most and old not in self._names_at) else self._most
