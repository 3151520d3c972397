-- End an open hold: capture its cost (0: void it) in the windows in which it was placed. Or only where nobody has
-- joined it of whom the caller does not know.
--
-- KEYS[1]   holds of the customer (hash)
-- KEYS[2]   idempotency of the customer (hash)
-- KEYS[3]   ended mark of this hold (string)
-- KEYS[4]   cost breaker of the customer (hash)
-- KEYS[5]   attempts of the customer (hash)
-- KEYS[6]   which drop of windows was the last (string)
-- KEYS[7..] windows of the hold (hash)
-- ARGV[1]   hold id, escaped
-- ARGV[2]   cost, nano-dollars, whole, 0 <= n < 2^53
-- ARGV[3]   names of the windows in KEYS, as in the hold's record
-- ARGV[4]   seconds that the ended mark lives; 0 for no mark: what was placed a moment ago is taken back as if it never
--           had been
-- ARGV[5]   now, microseconds since 1970
-- ARGV[6]   attempts that the caller knows of; "" to end it whoever has joined
-- ARGV[7]   attempts that a hold without a record has (one that an older revision placed)
-- ARGV[8]   "1" where windows may have been filled with the cost before: they are dropped, to be filled anew; else ""
-- ARGV[9]   seconds that it is known which drop of windows was the last
--
-- Returns, one text: voided|cost: it is ended now; ended|cost: it was, at that cost; unknown|cost and joined|cost: nothing
--   was added to a window; elsewhere|names: nothing was touched, the hold was placed in these windows, call again with
--   them.
-- Cost: 6 commands, 2 a window, 3 where one is not there; 1 more with ARGV[6], 3 for the probe of a breaker, 1 a window
-- and 1 where they are dropped. O(windows).
--
-- A window that is not there is left out: the ledger booked the cost before this call, so whoever fills the window
-- reads it there, or finds it in the ended mark. So it is with one that was filled under another history: whatever is
-- added to it is thrown away when it is filled. The mark is written for an unknown hold too where it is to be ended
-- whoever joined: it may have been lost, and a filling under way may be about to put it back. Windows that are there
-- then, and lack the cost or have it, are dropped: so they are where a hold had ended at another cost, given back before
-- its job turned up. What the end of a probe does to the breaker: after_probe in domain/cost_breaker.py.

local FIRST_WINDOW = 7

local function drop_windows()
  local count = 0
  for i = FIRST_WINDOW, #KEYS do
    count = count + redis.call("DEL", KEYS[i])
  end
  if count > 0 then
    redis.call("SET", KEYS[6], ARGV[1] .. "@" .. ARGV[5], "EX", ARGV[9])
  end
end

local record = redis.call("HGET", KEYS[1], ARGV[1])
if not record then
  local ended_at_cost = redis.call("GET", KEYS[3])
  if ended_at_cost and (ARGV[2] == "0" or ARGV[2] == ended_at_cost) then
    return "ended|" .. ended_at_cost
  end
  if ARGV[6] == "" and ARGV[4] ~= "0" then
    redis.call("SET", KEYS[3], ARGV[2], "EX", ARGV[4])
  end
  if ARGV[2] ~= "0" then
    drop_windows()
  end
  return (ended_at_cost and "ended|" or "unknown|") .. ARGV[2]
end
if ARGV[6] ~= "" then
  local attempts = string.match(redis.call("HGET", KEYS[5], ARGV[1]) or ARGV[7], "^%d+")
  if attempts ~= ARGV[6] then
    return "joined|" .. ARGV[2]
  end
end

local amount, idempotency_key, names = string.match(record, "^(%d+) %-?%d+ (%S*) (.*)$")
if names ~= ARGV[3] then
  return "elsewhere|" .. names
end

local window_count = #KEYS - FIRST_WINDOW + 1
local are_all_there = window_count > 0 and redis.call("EXISTS", unpack(KEYS, FIRST_WINDOW)) == window_count
for i = FIRST_WINDOW, #KEYS do
  if are_all_there or redis.call("EXISTS", KEYS[i]) == 1 then
    if ARGV[2] ~= "0" then
      redis.call("HINCRBY", KEYS[i], "captured_nanos", ARGV[2])
    end
    if amount ~= "0" then -- HINCRBY refuses "-0"
      redis.call("HINCRBY", KEYS[i], "held_nanos", "-" .. amount)
    end
  end
end
redis.call("HDEL", KEYS[1], ARGV[1])
redis.call("HDEL", KEYS[5], ARGV[1])
if idempotency_key ~= "" and redis.call("HGET", KEYS[2], idempotency_key) == ARGV[1] then
  redis.call("HDEL", KEYS[2], idempotency_key)
end
if ARGV[4] ~= "0" then
  redis.call("SET", KEYS[3], ARGV[2], "EX", ARGV[4], "NX")
end

if redis.call("HGET", KEYS[4], "trial") == ARGV[1] then
  local used
  for i = FIRST_WINDOW, #KEYS do
    if string.find(KEYS[i], ":window:day:", 1, true) then
      local stands = redis.call("HMGET", KEYS[i], "captured_nanos", "held_nanos", "history")
      used = stands[1] and stands[3] == read_history() and tonumber(stands[1]) + tonumber(stands[2])
    end
  end
  if ARGV[2] == "0" or not used then
    redis.call("HSET", KEYS[4], "trial", "", "emergency_nanos", "")
  else
    local emergency = redis.call("HGET", KEYS[4], "emergency_nanos")
    if emergency == "" or used <= tonumber(emergency) then
      redis.call("DEL", KEYS[4])
    else
      redis.call("HSET", KEYS[4], "opened_at_us", ARGV[5], "trial", "", "emergency_nanos", "")
    end
  end
end
if ARGV[8] == "1" then
  drop_windows()
end
return "voided|" .. ARGV[2]
