-- Place a hold on every window, or on none, by the rules of domain/cost_breaker.py; or join the one that it repeats.
--
-- KEYS[1]   holds of the customer (hash)
-- KEYS[2]   idempotency of the customer (hash)
-- KEYS[3]   ended mark of this hold (string)
-- KEYS[4]   cost breaker of the customer (hash)
-- KEYS[5]   attempts of the customer (hash)
-- KEYS[6]   which drop of windows was the last (string)
-- KEYS[7..] windows (hash): first the customer's own, then strict ones, in the order in which balances are wanted; behind
--           them those that are only taken over from
-- ARGV[1]   hold id, escaped
-- ARGV[2]   idempotency key, escaped; "" for none
-- ARGV[3]   amount, nano-dollars, whole, 0 <= n < 2^53
-- ARGV[4]   record of the hold (keys.hold_record)
-- ARGV[5]   now, microseconds since 1970
-- ARGV[6]   how long grace lasts, microseconds; 0 for no grace
-- ARGV[7]   emergency limit of the day, nano-dollars, whole, 0 <= n < 2^53; "" for none
-- ARGV[8]   how long the breaker stays open before a probe, microseconds; 0 for no probe
-- ARGV[9]   "1" where the budgets are observed only, else ""
-- ARGV[10]  number of the day among the windows, from 1; 0 where there is none
-- ARGV[11]  when that day ends, microseconds since 1970
-- ARGV[12]  seconds that the breaker's key lives when it trips
-- ARGV[13] how many windows are the customer's own
-- ARGV[14] how many windows there are, without those that are only taken over from
-- ARGV[15]  until when this attempt leases the hold, microseconds since 1970
-- ARGV[16]  attempts that a hold without a record has (one that an older revision placed)
-- ARGV[17]  "1" where a hold is only joined and none is placed, because the deployment has no room; else ""
-- ARGV[18]  "1" where a repeat is one more attempt at the hold, "" where it is only found
-- ARGV[19]  seconds that what is known of holds lives from now on
-- ARGV[20..] for each of these: limit, nano-dollars, whole, 0 <= n < 2^53, "" for none; number of the window that it takes
--           over from, 0 for none; the limit of that one, as above; the most that is taken over, as above
--
-- Returns, all text: {"unknown", since when (history.lua), number of a window from 1, ...}: nothing was touched, these are
--   not there or were filled under another history; or
--   {"placed" | "replayed" | "refused" | "ended", id of the open hold or "", refusal (RejectReason) or "", "1" when it tripped or "",
--    numbers of the windows whose grace began with it, by blanks, attempts that have joined it, history (history.lua),
--    the breaker after it: opened_at_us, until_us, probe, emergency_nanos (each "" for none),
--    captured, held, grace_started_us or "", captured, held, ...} of all windows
-- Cost: 1 HMGET a window, 6 commands; 3 more when unknown; when placed 2 a window and 6 more; 3 when joined, 3 when it trips. O(windows).
--
-- Numbers are doubles here. They are compared only, and moments added, which stay below 2^53: a sum of money past it is
-- rounded, and still larger than any limit. What is stored is added by HINCRBY (64-bit whole numbers) or is text that
-- came in; what is returned is the stored text.

local FIRST_WINDOW, LIMITS, PER_WINDOW = 7, 20, 4
local hold_id, idempotency_key, amount = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now_us, grace_us, cooldown_us = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[8])
local emergency, is_observed, day = ARGV[7], ARGV[9] == "1", tonumber(ARGV[10])
local LAST_OWN, LAST_WINDOW = FIRST_WINDOW + ARGV[13] - 1, FIRST_WINDOW + ARGV[14] - 1

local history = read_history()
if not history then
  return REPLICA
end
local stands = {}
local unknown = { "unknown", "" }
for i = FIRST_WINDOW, #KEYS do
  stands[i] = redis.call("HMGET", KEYS[i], "captured_nanos", "held_nanos", "grace_started_us", "history")
  if not stands[i][1] or stands[i][4] ~= history then
    unknown[#unknown + 1] = tostring(i - FIRST_WINDOW + 1)
  end
end
if #unknown > 2 then
  unknown[2] = unknown_since(history, KEYS[6], hold_id .. "@" .. ARGV[5], ARGV[19])
  return unknown
end

-- opened_at_us, until_us, probe, emergency_nanos; nil while the breaker is closed
local breaker = redis.call("HMGET", KEYS[4], "opened_at_us", "until_us", "trial", "emergency_nanos")
if not breaker[1] or now_us >= tonumber(breaker[2]) then
  breaker = nil
end

local function answer(outcome, open_id, refusal, tripped, grace_starts, attempts)
  local reply = { outcome, open_id, refusal, tripped, grace_starts, attempts, named_history(history, KEYS[6]) }
  for i = 1, 4 do
    reply[#reply + 1] = breaker and breaker[i] or ""
  end
  for i = FIRST_WINDOW, #KEYS do
    reply[#reply + 1] = stands[i][1]
    reply[#reply + 1] = stands[i][2]
    reply[#reply + 1] = stands[i][3] or ""
  end
  return reply
end

-- One more attempt at an open hold, where it is one. A lease is never made shorter.
local function join(open_id)
  local record = redis.call("HGET", KEYS[5], open_id) or ARGV[16] .. " 0"
  local count, leased_until_us = string.match(record, "^(%d+) (%-?%d+)$")
  if ARGV[18] == "" then
    return answer("replayed", open_id, "", "", "", count)
  end
  if tonumber(leased_until_us) < tonumber(ARGV[15]) then
    leased_until_us = ARGV[15]
  end
  count = string.format("%d", count + 1)
  redis.call("HSET", KEYS[5], open_id, count .. " " .. leased_until_us)
  redis.call("EXPIRE", KEYS[5], ARGV[19])
  return answer("replayed", open_id, "", "", "", count)
end

if redis.call("HEXISTS", KEYS[1], hold_id) == 1 then
  return join(hold_id)
end
if idempotency_key ~= "" then
  local earlier_id = redis.call("HGET", KEYS[2], idempotency_key)
  if earlier_id and redis.call("HEXISTS", KEYS[1], earlier_id) == 1 then
    return join(earlier_id)
  end
end
if ARGV[17] == "1" then
  return answer("refused", "", "budget_used_up", "", "", "0")
end

-- A hold that was voided because nobody knew whether it was placed must not be placed by a call that comes late.
if redis.call("EXISTS", KEYS[3]) == 1 then
  return answer("ended", "", "", "", "", "0")
end

local function used_with(i)
  return tonumber(stands[i][1]) + tonumber(stands[i][2]) + amount
end

-- domain/budget.py: has_room_for and carried_nanos
local function is_short(i)
  local at = LIMITS + PER_WINDOW * (i - FIRST_WINDOW)
  local limit, number, before_limit, carried_max = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  if limit == "" then
    return false
  end
  limit = tonumber(limit)
  if number > 0 then
    local before = stands[FIRST_WINDOW + number - 1]
    local unused = tonumber(before_limit) - tonumber(before[1]) - tonumber(before[2])
    limit = limit + math.min(math.max(unused, 0), tonumber(carried_max))
  end
  return used_with(i) > limit
end

-- Why the customer's own budgets refuse, or "" and the windows whose grace begins.
local function judge()
  local short, starts, is_over = false, {}, false
  for i = FIRST_WINDOW, LAST_OWN do
    if is_short(i) then
      short = true
      if not stands[i][3] then
        starts[#starts + 1] = i
      elseif now_us >= tonumber(stands[i][3]) + grace_us then
        is_over = true
      end
    end
  end
  if not short then
    return "", {}
  end
  if grace_us == 0 then
    return "budget_used_up", {}
  end
  if day > 0 and used_with(day + FIRST_WINDOW - 1) > tonumber(emergency) then
    return "emergency", {}
  end
  if is_over then
    return "grace_over", {}
  end
  return "", starts
end

for i = LAST_OWN + 1, LAST_WINDOW do
  if is_short(i) then
    return answer("refused", "", "budget_used_up", "", "", "0")
  end
end

local is_probe = breaker and cooldown_us > 0 and breaker[3] == "" and now_us >= tonumber(breaker[1]) + cooldown_us
local refusal, starts = "breaker_open", {}
if not breaker or is_probe then
  refusal, starts = judge()
end

local function write_breaker(opened_at_us, until_us, probe, probe_emergency)
  breaker = { opened_at_us, until_us, probe, probe_emergency }
  redis.call(
    "HSET", KEYS[4], "opened_at_us", opened_at_us, "until_us", until_us, "trial", probe, "emergency_nanos", probe_emergency
  )
end

if refusal ~= "" and not is_observed then
  local tripped = ""
  if is_probe then
    write_breaker(ARGV[5], breaker[2], "", "")
    tripped = "1"
  elseif refusal == "emergency" then
    write_breaker(ARGV[5], ARGV[11], "", "")
    redis.call("EXPIRE", KEYS[4], ARGV[12])
    tripped = "1"
  end
  return answer("refused", "", refusal, tripped, "", "0")
end
if is_probe and not is_observed then
  write_breaker(breaker[1], breaker[2], hold_id, emergency)
end

redis.call("HSET", KEYS[1], hold_id, ARGV[4])
redis.call("HSET", KEYS[5], hold_id, "1 " .. ARGV[15])
redis.call("EXPIRE", KEYS[1], ARGV[19])
redis.call("EXPIRE", KEYS[5], ARGV[19])
if idempotency_key ~= "" then
  redis.call("HSET", KEYS[2], idempotency_key, hold_id)
  redis.call("EXPIRE", KEYS[2], ARGV[19])
end
local begun = {}
for _, i in ipairs(starts) do
  redis.call("HSET", KEYS[i], "grace_started_us", ARGV[5])
  stands[i][3] = ARGV[5]
  begun[#begun + 1] = tostring(i - FIRST_WINDOW + 1)
end
for i = FIRST_WINDOW, LAST_WINDOW do
  redis.call("HINCRBY", KEYS[i], "held_nanos", ARGV[3])
  stands[i][2] = redis.call("HGET", KEYS[i], "held_nanos")
end
return answer("placed", hold_id, refusal, "", table.concat(begun, " "), "1")
