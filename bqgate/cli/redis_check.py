"""Check the Redis that budgets are kept in: does it answer, may this user do what a gate does, does it evict nothing.

Called by doctor_checks. Commands are tried in a script on a key that is gone when it ends, so nothing is changed; the
whole list of them is in docs/redis.md. Raises nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bqgate.cli.finding import Finding
from bqgate.domain.units import MS_PER_S
from bqgate.observe.redact import redact_text
from bqgate.settings import Settings

REDIS_MAJOR_MIN = 7

_SEE_DOCS = "give it the commands, keys and channels that docs/redis.md lists"

# Answers which of the commands that scripts call this user may not call.
_TRIAL = """
local key, missing = KEYS[1], {}
local function try(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) == "table" and reply.err and (string.find(reply.err, "NOPERM") or string.find(reply.err, "can't run")
      or string.find(reply.err, "permission")) then
    missing[#missing + 1] = command
  end
end
try("INFO", "replication")
try("HSET", key, "a", "1")
try("HSETNX", key, "a", "1")
try("HINCRBY", key, "a", "1")
try("HGET", key, "a")
try("HMGET", key, "a")
try("HGETALL", key)
try("HEXISTS", key, "a")
try("HDEL", key, "a")
try("SET", key, "1", "EX", "1")
try("GET", key)
try("PTTL", key)
try("EXISTS", key)
try("EXPIRE", key, "1")
try("DEL", key)
try("LPUSH", key, "1")
try("LTRIM", key, "0", "1")
try("LINDEX", key, "0")
try("DEL", key)
return missing
"""


async def check_budgets(settings: Settings) -> Finding:
    """Does Redis answer, may it be used, is it new enough, and does it keep what it is given?"""
    url = settings.budgets.url
    if url.scheme == "memory":
        return Finding("budgets", True, "in the memory of the one process, filled from the ledger")
    try:
        from redis.exceptions import (  # noqa: PLC0415 - redis is an extra
            NoPermissionError,
            RedisClusterException,
            RedisError,
        )

        from bqgate.budgets.redis_client import close_client, open_client  # noqa: PLC0415 - the same
    except ImportError:
        return Finding("budgets", False, f"{url}: redis is not installed", "pip install 'bqgate[redis]'")
    client = open_client(url.reveal(), timeout_s=settings.budgets.timeout_ms / MS_PER_S, connections_max=1)
    try:
        answered: Mapping[str, Any] = await client.info()
        found = judge_redis(str(url), _by_node(answered))
        if found.is_good is not True:
            return found
        missing: Any = await client.eval(_TRIAL, 1, "bqgate:{doctor}:trial")
    except NoPermissionError as error:
        return Finding("budgets", False, f"{url}: this user may too little: {redact_text(str(error))}", _SEE_DOCS)
    except (RedisError, RedisClusterException, OSError, ValueError) as error:
        said = redact_text(next(iter(str(error).splitlines()), "") or type(error).__name__)
        remedy = "see that Redis runs there, takes this user and password, and answers within budgets.timeout_ms"
        return Finding("budgets", False, f"{url}: no answer: {said}", remedy)
    finally:
        await close_client(client)
    if missing:
        return Finding("budgets", False, f"{url}: this user may not call {', '.join(missing)}", _SEE_DOCS)
    return found


def judge_redis(url: str, nodes: Sequence[Mapping[str, Any]]) -> Finding:
    """Whether what INFO said of each node is good enough."""
    for node in nodes:
        version, policy = str(node.get("redis_version", "unknown")), node.get("maxmemory_policy", "unknown")
        major = version.partition(".")[0]
        if not major.isdecimal() or int(major) < REDIS_MAJOR_MIN:
            remedy = f"run Redis {REDIS_MAJOR_MIN} or later"
            return Finding("budgets", False, f"{url}: Redis is of version {version}", remedy)
        if policy != "noeviction":
            said = f"{url}: maxmemory-policy is {policy}, so Redis may drop budgets when memory is short"
            return Finding("budgets", False, said, "set maxmemory-policy noeviction")
        if node.get("role") not in {"master", None} and len(nodes) == 1:
            remedy = "write the master's address, or have Sentinels name it: redis+sentinel://HOST,HOST/MASTER"
            return Finding("budgets", False, f"{url}: is a replica, which takes no writes", remedy)
        if node.get("role") == "master" and "master_replid" not in node:
            said = f"{url}: does not tell its replication id, so that a gate would not see that it lost writes"
            return Finding("budgets", False, said, "run Redis or Valkey itself, or a service that passes INFO on whole")
    replicas = sum(int(node.get("connected_slaves", 0)) for node in nodes)
    return Finding(
        "budgets", True, f"{url}: answers, Redis {nodes[0]['redis_version']}, noeviction, replicas: {replicas}"
    )


def _by_node(answered: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A cluster of several nodes answers by node."""
    nodes = [answered] if "redis_version" in answered else list(answered.values())
    return [node for node in nodes if isinstance(node, Mapping)] or [{}]
