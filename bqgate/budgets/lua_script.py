"""Run a Lua script of this package inside Redis, in one round trip.

Used by scripts.py, which knows the arguments and answers of each. Nothing is retried. Raises redis' errors.
"""

import hashlib
from collections.abc import Awaitable, Sequence
from importlib import resources
from typing import Any, Protocol

from redis.exceptions import NoScriptError


class ScriptClient(Protocol):
    """What scripts are run over: RedisLine, or a client of redis-py's."""

    def evalsha(self, sha: str, numkeys: int, /, *keys_and_args: Any) -> Awaitable[Any]:
        """Run a script that Redis knows, by its SHA-1."""

    def eval(self, script: str, numkeys: int, /, *keys_and_args: Any) -> Awaitable[Any]:
        """Run a script by its text."""


class LuaScript:
    """A .lua file of this package, or several, one behind the other."""

    def __init__(self, *file_names: str) -> None:
        folder = resources.files("bqgate.budgets")
        self._text = "".join(folder.joinpath(file_name).read_text("utf-8") for file_name in file_names)
        # EVALSHA names scripts by SHA-1: https://redis.io/docs/latest/commands/evalsha/
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: ScriptClient, keys: Sequence[str], args: Sequence[str | int]) -> list[str]:
        """Run it, by its name where Redis knows it, else by its text.

        The answer is a list of texts, or one text with bars between them, which takes Redis less time.
        """
        reply: Any
        try:
            reply = await client.evalsha(self._sha, len(keys), *keys, *args)
        except NoScriptError:
            reply = await client.eval(self._text, len(keys), *keys, *args)
        if isinstance(reply, str):
            return reply.split("|")
        assert isinstance(reply, list), reply
        assert all(isinstance(word, str) for word in reply), reply
        return reply
