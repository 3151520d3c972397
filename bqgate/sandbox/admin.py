"""Answer the sandbox's own paths, below `/sandbox/v1`: faults, the journal, the clock.

The server comes here for tests that run in another process than the sandbox. What leaves is a Reply or an ApiError.

    GET POST DELETE /sandbox/v1/faults          the faults that stand; add one; take all away
    GET DELETE      /sandbox/v1/calls?method=   what was received, oldest first; forget it
    POST            /sandbox/v1/clock:advance   {"seconds": 60}
    POST            /sandbox/v1/cache:clear     forget all cached results
"""

from __future__ import annotations

from bqgate.sandbox.faults import fault_of
from bqgate.sandbox.replies import ApiError, Reply
from bqgate.sandbox.routes import Incoming, parsed
from bqgate.sandbox.world import World

PREFIX = "/sandbox/v1/"


def answer(world: World, incoming: Incoming) -> Reply:
    """Answer one call.

    Raises:
        ApiError: 400 or 404.
    """
    match incoming.verb, incoming.path.removeprefix(PREFIX):
        case "GET", "faults":
            return Reply(body={"faults": [fault.described() for fault in world.faults]})
        case "POST", "faults":
            return Reply(body=world.faults.add(fault_of(parsed(incoming.body))).described())
        case "DELETE", "faults":
            world.faults.clear()
        case "GET", "calls":
            entries = world.journal.entries(method=incoming.query.get("method", ""))
            return Reply(body={"calls": [entry.described() for entry in entries]})
        case "DELETE", "calls":
            world.journal.clear()
        case "POST", "clock:advance":
            seconds = parsed(incoming.body).get("seconds")
            if not isinstance(seconds, int | float) or seconds < 0:
                raise ApiError(400, "invalid", "seconds is a number, 0 or more", location="seconds")
            world.clock.advance(seconds)
            return Reply(body={"now": world.clock.now().isoformat()})
        case "POST", "cache:clear":
            world.cache.clear()
        case _:
            raise ApiError(404, "notFound", f"Not Found: {incoming.verb} {incoming.path}")
    return Reply(204)
