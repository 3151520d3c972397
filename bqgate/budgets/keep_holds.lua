-- Lease open holds from now on, and put back those that are lost.
--
-- KEYS[1]   holds of the customer (hash)
-- KEYS[2]   idempotency of the customer (hash)
-- KEYS[3]   attempts of the customer (hash)
-- KEYS[4..] W windows (hash): all that the holds name
--   then    H ended marks (string), one for each hold
-- ARGV[1]   W
-- ARGV[2]   until when they are leased, microseconds since 1970
-- ARGV[3]   attempts that a hold has that is put back, or that an older revision placed
-- ARGV[4]   "1" where holds that are there are leased too; "" to leave them as they are
-- ARGV[5]   seconds that the mark of a hold that has ended lives from now on
-- ARGV[6]   seconds that what is known of holds lives from now on
--   then    W names, as in holds' records
--   then    H quadruples: hold id, idempotency key or "" (both escaped), amount (nano-dollars, whole, 0 <= n < 2^53),
--           record of the hold (keys.hold_record)
--
-- Returns, all text: {number of a hold that was put back, from 1, ...}.
-- Cost: 3 and 1 command a window; for each hold 3, or up to 5 and 1 a window where it is put back. O(holds given).
--
-- No limit is asked: the query may be running. A window that is not there counts the record when it is filled. A hold
-- that has ended is not put back, however long somebody goes on keeping it: its mark lives on.

local window_count, leased_until_us, restored_attempts, is_kept = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4] == "1"
local KEYS_BEFORE, NAMES, HOLDS = 3, 6, 6 + window_count

local known = {} -- name of a window to its key
for i = 1, window_count do
  if redis.call("EXISTS", KEYS[KEYS_BEFORE + i]) == 1 then
    known[ARGV[NAMES + i]] = KEYS[KEYS_BEFORE + i]
  end
end

-- A lease is never made shorter.
local function keep(hold_id)
  local record = redis.call("HGET", KEYS[3], hold_id) or restored_attempts .. " 0"
  local count, known_until_us = string.match(record, "^(%d+) (%-?%d+)$")
  if tonumber(known_until_us) < tonumber(leased_until_us) then
    redis.call("HSET", KEYS[3], hold_id, count .. " " .. leased_until_us)
  end
end

local function put_back(hold_id, idempotency_key, amount, record)
  redis.call("HSET", KEYS[1], hold_id, record)
  redis.call("HSET", KEYS[3], hold_id, restored_attempts .. " " .. leased_until_us)
  if idempotency_key ~= "" then
    redis.call("HSETNX", KEYS[2], idempotency_key, hold_id)
  end
  for name in string.gmatch(string.match(record, "^%d+ %-?%d+ %S* (.*)$"), "%S+") do
    if known[name] then
      redis.call("HINCRBY", known[name], "held_nanos", amount)
    end
  end
end

local restored = {}
for i = 1, #KEYS - KEYS_BEFORE - window_count do
  local at = HOLDS + 4 * (i - 1)
  local hold_id = ARGV[at + 1]
  if redis.call("HEXISTS", KEYS[1], hold_id) == 1 then
    if is_kept then
      keep(hold_id)
    end
  elseif redis.call("EXPIRE", KEYS[KEYS_BEFORE + window_count + i], ARGV[5]) == 0 then
    put_back(hold_id, ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
    restored[#restored + 1] = tostring(i)
  end
end
for i = 1, KEYS_BEFORE do
  redis.call("EXPIRE", KEYS[i], ARGV[6])
end
return restored
