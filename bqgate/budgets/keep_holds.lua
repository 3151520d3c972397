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
-- Cost: 6 commands; for each hold that is put back up to 5 and 2 a window. O(holds given), whatever else is held.
--
-- No limit is asked: the query may be running. A window that is not there counts the record when it is filled. A hold
-- that has ended is not put back, however long somebody goes on keeping it: its mark lives on.

local window_count, leased_until_us, restored_attempts, is_kept = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4] == "1"
local KEYS_BEFORE, NAMES, HOLDS = 3, 6, 6 + window_count

local keys = {} -- of windows, by their names
for i = 1, window_count do
  keys[ARGV[NAMES + i]] = KEYS[KEYS_BEFORE + i]
end

local function put_back(hold_id, idempotency_key, amount, record)
  if redis.call("HSETNX", KEYS[1], hold_id, record) == 0 then
    return -- it was given twice
  end
  redis.call("HSET", KEYS[3], hold_id, restored_attempts .. " " .. leased_until_us)
  if idempotency_key ~= "" then
    redis.call("HSETNX", KEYS[2], idempotency_key, hold_id)
  end
  for name in string.gmatch(string.match(record, "^%d+ %-?%d+ %S* (.*)$"), "%S+") do
    if redis.call("EXISTS", keys[name]) == 1 then
      redis.call("HINCRBY", keys[name], "held_nanos", amount)
    end
  end
end

local ids = {}
for i = 1, #KEYS - KEYS_BEFORE - window_count do
  ids[i] = ARGV[HOLDS + 4 * i - 3]
end
local records = redis.call("HMGET", KEYS[1], unpack(ids))
local attempts = redis.call("HMGET", KEYS[3], unpack(ids))
local leases, restored = {}, {}
for i, hold_id in ipairs(ids) do
  if records[i] then
    -- A lease is never made shorter.
    local count, known_until_us = string.match(attempts[i] or restored_attempts .. " 0", "^(%d+) (%-?%d+)$")
    if is_kept and tonumber(known_until_us) < tonumber(leased_until_us) then
      leases[#leases + 1] = hold_id
      leases[#leases + 1] = count .. " " .. leased_until_us
    end
  elseif redis.call("EXPIRE", KEYS[KEYS_BEFORE + window_count + i], ARGV[5]) == 0 then
    local at = HOLDS + 4 * i
    put_back(hold_id, ARGV[at - 2], ARGV[at - 1], ARGV[at])
    restored[#restored + 1] = tostring(i)
  end
end
if #leases > 0 then
  redis.call("HSET", KEYS[3], unpack(leases))
end
for i = 1, KEYS_BEFORE do
  redis.call("EXPIRE", KEYS[i], ARGV[6])
end
return restored
