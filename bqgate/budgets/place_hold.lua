-- Place a hold on every window, or on none.
--
-- KEYS[1]   holds of the customer (hash)
-- KEYS[2]   idempotency of the customer (hash)
-- KEYS[3]   ended mark of this hold (string)
-- KEYS[4..] windows (hash), in the order in which balances are wanted
-- ARGV[1]   hold id, escaped
-- ARGV[2]   idempotency key, escaped; "" for none
-- ARGV[3]   amount, nano-dollars, whole, 0 <= n < 2^53
-- ARGV[4]   record of the hold (keys.hold_record)
-- ARGV[5..] limit of each window, nano-dollars, whole, 0 <= n < 2^53; "" for none
--
-- Returns, all text: {"unknown", number of a window from 1, ...}: nothing was touched; or
--   {"placed" | "replayed" | "refused", id of the open hold or "", captured, held, captured, held, ...}
-- Cost: 1 HMGET a window, 3 commands; when placed 2 a window and 2 more. O(windows).
--
-- Numbers are doubles here. They are compared only: a sum past 2^53 is rounded, and still larger than any limit.
-- What is stored is added by HINCRBY (64-bit whole numbers), what is returned is the stored text.

local FIRST_WINDOW = 4
local hold_id, idempotency_key, amount = ARGV[1], ARGV[2], ARGV[3]

local stands = {}
local unknown = { "unknown" }
for i = FIRST_WINDOW, #KEYS do
  stands[i] = redis.call("HMGET", KEYS[i], "captured_nanos", "held_nanos")
  if not stands[i][1] then
    unknown[#unknown + 1] = tostring(i - FIRST_WINDOW + 1)
  end
end
if #unknown > 1 then
  return unknown
end

local function answer(outcome, open_id)
  local reply = { outcome, open_id }
  for i = FIRST_WINDOW, #KEYS do
    reply[#reply + 1] = stands[i][1]
    reply[#reply + 1] = stands[i][2]
  end
  return reply
end

if redis.call("HEXISTS", KEYS[1], hold_id) == 1 then
  return answer("replayed", hold_id)
end
if idempotency_key ~= "" then
  local earlier_id = redis.call("HGET", KEYS[2], idempotency_key)
  if earlier_id and redis.call("HEXISTS", KEYS[1], earlier_id) == 1 then
    return answer("replayed", earlier_id)
  end
end

-- A hold that was voided because nobody knew whether it was placed must not be placed by a call that comes late.
if redis.call("EXISTS", KEYS[3]) == 1 then
  return answer("refused", "")
end

for i = FIRST_WINDOW, #KEYS do
  local limit = ARGV[i + 1]
  if limit ~= "" and tonumber(stands[i][1]) + tonumber(stands[i][2]) + tonumber(amount) > tonumber(limit) then
    return answer("refused", "")
  end
end

redis.call("HSET", KEYS[1], hold_id, ARGV[4])
if idempotency_key ~= "" then
  redis.call("HSET", KEYS[2], idempotency_key, hold_id)
end
for i = FIRST_WINDOW, #KEYS do
  redis.call("HINCRBY", KEYS[i], "held_nanos", amount)
  stands[i][2] = redis.call("HGET", KEYS[i], "held_nanos")
end
return answer("placed", hold_id)
