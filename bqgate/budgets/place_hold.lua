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
-- ARGV[20..] of each of these the limit, nano-dollars, whole, 0 <= n < 2^53, "" for none
--   then    for each of these that takes over from another: its number, from 1, the number of that one, that one's limit,
--           as above, and the most that is taken over, as above
--
-- Returns, one text, words between bars: unknown|since when (history.lua)|number of a window from 1|...: nothing was
--   touched, these are not there or were filled under another history; or
--   placed, replayed, refused or ended|id of the open hold or ""|refusal (RejectReason) or ""|"1" when it tripped or ""|
--   numbers of the windows whose grace began with it, by blanks|attempts that have joined it|history (history.lua)|
--   the breaker after it: opened_at_us|until_us|probe|emergency_nanos (each "" for none)|
--   captured held grace_started_us-or-nothing captured held ..., by blanks, of all windows before it
-- Cost: 1 HMGET a window, 6 commands; 3 more when unknown; when placed 1 a window and 6 more; 3 when joined, 3 when it
-- trips. O(windows), whatever else is held.
--
-- Numbers are doubles here. They are compared only, and moments added, which stay below 2^53: a sum of money past it is
-- rounded, and still larger than any limit. What is stored is added by HINCRBY (64-bit whole numbers) or is text that
-- came in; what is returned is the stored text.

local BEFORE, LIMITS = 6, 19 -- the first window, and its limit, follow
local hold_id, idempotency_key, amount = ARGV[1], ARGV[2], tonumber(ARGV[3])
local emergency, is_observed, day = ARGV[7], ARGV[9] == "1", tonumber(ARGV[10])
local own_count, judged_count, window_count = tonumber(ARGV[13]), tonumber(ARGV[14]), #KEYS - BEFORE

local history = read_history()
if not history then
  return REPLICA
end
local stands, used, unknown = {}, {}, nil
for i = 1, window_count do
  local window
  if i <= own_count then
    window = redis.call("HMGET", KEYS[BEFORE + i], "captured_nanos", "held_nanos", "history", "grace_started_us")
  else
    window = redis.call("HMGET", KEYS[BEFORE + i], "captured_nanos", "held_nanos", "history")
  end
  if window[1] and window[3] == history then
    stands[i], used[i] = window, tonumber(window[1]) + tonumber(window[2])
  else
    unknown = (unknown or "") .. "|" .. i
  end
end
if unknown then
  return "unknown|" .. unknown_since(history, KEYS[6], hold_id .. "@" .. ARGV[5], ARGV[19]) .. unknown
end

-- opened_at_us, until_us, probe, emergency_nanos; nil while the breaker is closed
local breaker = redis.call("HMGET", KEYS[4], "opened_at_us", "until_us", "trial", "emergency_nanos")
if not breaker[1] or tonumber(ARGV[5]) >= tonumber(breaker[2]) then
  breaker = nil
end

local function answer(outcome, open_id, refusal, tripped, grace_starts, attempts)
  local shown = "|||"
  if breaker then
    shown = breaker[1] .. "|" .. breaker[2] .. "|" .. (breaker[3] or "") .. "|" .. (breaker[4] or "")
  end
  for i = 1, window_count do
    stands[i] = stands[i][1] .. " " .. stands[i][2] .. " " .. (stands[i][4] or "")
  end
  return table.concat({
    outcome, open_id, refusal, tripped, grace_starts, attempts, named_history(history, KEYS[6]), shown,
    table.concat(stands, " "),
  }, "|")
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

-- domain/budget.py: has_room_for and carried_nanos
local limits = {}
for i = 1, judged_count do
  limits[i] = tonumber(ARGV[LIMITS + i]) -- nil for none
end
for at = LIMITS + judged_count + 1, #ARGV, 4 do
  local i, before = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  if limits[i] then
    local unused = tonumber(ARGV[at + 2]) - used[before]
    limits[i] = limits[i] + math.min(math.max(unused, 0), tonumber(ARGV[at + 3]))
  end
end

local function is_short(i)
  return limits[i] and used[i] + amount > limits[i]
end

-- Why the customer's own budgets refuse, or "" and the windows whose grace begins.
local function judge()
  local short, starts, is_over = false, {}, false
  local now_us, grace_us = tonumber(ARGV[5]), tonumber(ARGV[6])
  for i = 1, own_count do
    if is_short(i) then
      short = true
      if not stands[i][4] then
        starts[#starts + 1] = i
      elseif now_us >= tonumber(stands[i][4]) + grace_us then
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
  if day > 0 and used[day] + amount > tonumber(emergency) then
    return "emergency", {}
  end
  if is_over then
    return "grace_over", {}
  end
  return "", starts
end

for i = own_count + 1, judged_count do
  if is_short(i) then
    return answer("refused", "", "budget_used_up", "", "", "0")
  end
end

local is_probe = breaker and ARGV[8] ~= "0" and breaker[3] == ""
  and tonumber(ARGV[5]) >= tonumber(breaker[1]) + tonumber(ARGV[8])
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
for _, i in ipairs(starts) do
  redis.call("HSET", KEYS[BEFORE + i], "grace_started_us", ARGV[5])
  stands[i][4] = ARGV[5]
end
for i = 1, judged_count do
  redis.call("HINCRBY", KEYS[BEFORE + i], "held_nanos", ARGV[3])
end
return answer("placed", hold_id, refusal, "", table.concat(starts, " "), "1")
