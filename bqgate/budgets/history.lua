-- Put before the scripts that trust what they find in windows. Which history of writes this server goes on with: the
-- replication id (https://redis.io/docs/latest/operate/oss_and_stack/management/replication/) is another one after each
-- start of a server and each promotion of a replica. Under one id no write is lost; under a new one some may be, because
-- replicas and files on disk come after the answer. A window says under which it was filled.
--
-- Returns, text: 16 of its 40 digits, "" where a server tells none; nil where this server is a replica.
-- Cost: 1 INFO, some 2.5 microseconds.

local function read_history()
  local replication = redis.call("INFO", "replication")
  if string.find(replication, "role:slave", 1, true) then
    return nil
  end
  local _, last = string.find(replication, "master_replid:", 1, true)
  return last and string.sub(replication, last + 1, last + 16) or ""
end

-- With the name of the last drop of windows of an account, or of the moment from which Redis knew of none.
local function named_history(history, dropped_key)
  return history .. "/" .. (redis.call("GET", dropped_key) or "")
end

-- Since when windows are unknown: what is read from the ledger from now on fills them, as long as this is still so then,
-- with no write lost and no window of the account dropped in between (the key `dropped`). Where that key is lost, all may
-- be: it is named anew, and the name says so (wipes.py).
local function unknown_since(history, dropped_key, new_name, ttl_s)
  if redis.call("EXISTS", dropped_key) == 0 then
    redis.call("SET", dropped_key, "first:" .. new_name, "EX", ttl_s)
  end
  return named_history(history, dropped_key)
end

local REPLICA = redis.error_reply("READONLY this server is a replica, and may be behind")

