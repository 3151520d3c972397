-- Fill windows that are not there with what the ledger knew of them; rules in refill.py.
--
-- KEYS[1]    holds of the customer (hash)
-- KEYS[2]    idempotency of the customer (hash)
-- KEYS[3..]  W windows (hash): first the F to fill, then the others that the ledger's open holds name
--   then     H ended marks (string), one for each open hold of the ledger
-- ARGV[1..3] F, W, H
--   then     W names, as in holds' records
--   then     F pairs: captured (nano-dollars, whole, >= 0), seconds that the window's key lives
--   then     H quadruples: hold id, idempotency key or "" (both escaped), amount (nano-dollars, whole,
--            0 <= n < 2^53), record of the hold (keys.hold_record)
--
-- Returns, text: {number of windows filled}.
-- Cost: 1 command a window, up to 3 and 1 a window for each hold of the ledger, HVALS and 1 for each hold in the store
-- that names a filled window. O(holds of the customer); only when a window is seen for the first time.

local fill_count, window_count, hold_count = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local NAMES, FILLS, HOLDS = 3, 3 + window_count, 3 + window_count + 2 * fill_count

local filled, known = {}, {} -- name of a window to its key
local filled_count = 0
for i = 1, window_count do
  local key, name = KEYS[2 + i], ARGV[NAMES + i]
  if redis.call("EXISTS", key) == 1 then
    known[name] = key
  elseif i <= fill_count then
    local captured, ttl_s = ARGV[FILLS + 2 * i - 1], ARGV[FILLS + 2 * i]
    redis.call("HSET", key, "captured_nanos", captured, "held_nanos", "0")
    redis.call("EXPIRE", key, ttl_s)
    filled[name] = key
    filled_count = filled_count + 1
  end
end
if filled_count == 0 then
  return { "0" }
end

local function add(windows, record, field, amount)
  for name in string.gmatch(string.match(record, "^%d+ %-?%d+ %S* (.*)$"), "%S+") do
    if windows[name] then
      redis.call("HINCRBY", windows[name], field, amount)
    end
  end
end

for i = 1, hold_count do
  local at = HOLDS + 4 * (i - 1)
  local hold_id, idempotency_key, amount, record = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  if redis.call("HEXISTS", KEYS[1], hold_id) == 0 then
    local cost = redis.call("GET", KEYS[2 + window_count + i])
    if cost then
      add(filled, record, "captured_nanos", cost)
    else
      redis.call("HSET", KEYS[1], hold_id, record)
      if idempotency_key ~= "" then
        redis.call("HSETNX", KEYS[2], idempotency_key, hold_id)
      end
      add(known, record, "held_nanos", amount)
    end
  end
end

for _, record in ipairs(redis.call("HVALS", KEYS[1])) do
  add(filled, record, "held_nanos", string.match(record, "^%d+"))
end
return { tostring(filled_count) }
