-- Fill windows that are not there, or were filled under another history (history.lua), with what the ledger knew of them; rules in refill.py.
--
-- KEYS[1]    holds of the customer (hash)
-- KEYS[2]    idempotency of the customer (hash)
-- KEYS[3]    cost breaker of the customer (hash)
-- KEYS[4]    attempts of the customer (hash)
-- KEYS[5]    which drop of windows was the last (string)
-- KEYS[6..]  W windows (hash): first the F to fill, then the others that the ledger's open holds name
--   then     H ended marks (string), one for each open hold of the ledger
-- ARGV[1..3] F, W, H
-- ARGV[4..7] the breaker that is open: name of its day among the F ("" for none), opened_at_us, until_us, seconds that
--            its key lives
-- ARGV[8]    the record of attempts of a hold that is put back
-- ARGV[9]    since when the windows are unknown for which the ledger was read (history.lua). Where that is over nothing is
--            filled: what ended in between may have left no mark, or counted in windows that were dropped since
-- ARGV[10]   seconds that what is known of holds lives from now on
--   then     W names, as in holds' records
--   then     F triples: captured (nano-dollars, whole, >= 0), grace_started_us or "", seconds that the window's key
--            lives
--   then     H quadruples: hold id, idempotency key or "" (both escaped), amount (nano-dollars, whole,
--            0 <= n < 2^53), record of the hold (keys.hold_record)
--
-- Returns, text: {number of windows filled}.
-- Cost: 1 command a window, 3 for a breaker, HGETALL, 1 or 4 for each hold of the ledger that the store lacks, and 2 for
-- each window filled. O(holds of the customer); only when a window is seen for the first time.

local fill_count, window_count, hold_count = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local NAMES, FILLS, HOLDS = 10, 10 + window_count, 10 + window_count + 3 * fill_count

local history = read_history()
if not history then
  return REPLICA
elseif named_history(history, KEYS[5]) ~= ARGV[9] then
  return { "0" }
end

local filled, known = {}, {} -- name of a window to its key
local filled_count = 0
for i = 1, window_count do
  local key, name = KEYS[5 + i], ARGV[NAMES + i]
  if redis.call("HGET", key, "history") == history then
    known[name] = key
  elseif i <= fill_count then
    local captured, grace_started_us, ttl_s = ARGV[FILLS + 3 * i - 2], ARGV[FILLS + 3 * i - 1], ARGV[FILLS + 3 * i]
    redis.call("DEL", key)
    redis.call("HSET", key, "captured_nanos", captured, "held_nanos", "0", "history", history)
    if grace_started_us ~= "" then
      redis.call("HSET", key, "grace_started_us", grace_started_us)
    end
    redis.call("EXPIRE", key, ttl_s)
    filled[name] = key
    filled_count = filled_count + 1
  end
end
if filled_count == 0 then
  return { "0" }
end

if filled[ARGV[4]] then
  local until_us = redis.call("HGET", KEYS[3], "until_us")
  if not until_us or tonumber(until_us) < tonumber(ARGV[6]) then
    redis.call("HSET", KEYS[3], "opened_at_us", ARGV[5], "until_us", ARGV[6], "trial", "", "emergency_nanos", "")
    redis.call("EXPIRE", KEYS[3], ARGV[7])
  end
end

-- The names in a record. Many holds name the same windows, and a customer may have thousands of them.
local lists = {} -- of names, by how a record has them
local function names_of(record)
  local text = string.match(record, "^%d+ %-?%d+ %S* (.*)$")
  if not lists[text] then
    lists[text] = {}
    for name in string.gmatch(text, "%S+") do
      lists[text][#lists[text] + 1] = name
    end
  end
  return lists[text]
end

local function add(windows, record, field, amount)
  for _, name in ipairs(names_of(record)) do
    if windows[name] then
      redis.call("HINCRBY", windows[name], field, amount)
    end
  end
end

local records = {} -- of all holds in the store, by their ids
local listed = redis.call("HGETALL", KEYS[1])
for i = 1, #listed, 2 do
  records[listed[i]] = listed[i + 1]
end

-- A hold that is older than a budget it falls under counts against that one too. Those just filled count it below.
local function widen(hold_id, known_record, record, amount)
  local named = {}
  for _, name in ipairs(names_of(known_record)) do
    named[name] = true
  end
  local wider = known_record
  for _, name in ipairs(names_of(record)) do
    if not named[name] then
      wider = wider .. " " .. name
      if known[name] then
        redis.call("HINCRBY", known[name], "held_nanos", amount)
      end
    end
  end
  if wider ~= known_record then
    redis.call("HSET", KEYS[1], hold_id, wider)
    records[hold_id] = wider
  end
end

for i = 1, hold_count do
  local at = HOLDS + 4 * (i - 1)
  local hold_id, idempotency_key, amount, record = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local known_record = records[hold_id]
  if known_record then
    if known_record ~= record then
      widen(hold_id, known_record, record, amount)
    end
  else
    local cost = redis.call("GET", KEYS[5 + window_count + i])
    if cost then
      add(filled, record, "captured_nanos", cost)
    else
      records[hold_id] = record
      redis.call("HSET", KEYS[1], hold_id, record)
      redis.call("HSET", KEYS[4], hold_id, ARGV[8])
      if idempotency_key ~= "" then
        redis.call("HSETNX", KEYS[2], idempotency_key, hold_id)
      end
      add(known, record, "held_nanos", amount)
    end
  end
end

-- Summed here as long as doubles are exact: each amount is below 2^53, and so is what is handed to HINCRBY.
local held = {} -- by the name of a window
local function write_held(name)
  redis.call("HINCRBY", filled[name], "held_nanos", string.format("%.0f", held[name]))
  held[name] = 0
end

for _, record in pairs(records) do
  local amount = tonumber(string.match(record, "^%d+"))
  for _, name in ipairs(names_of(record)) do
    if filled[name] then
      if (held[name] or 0) + amount >= 2 ^ 53 then
        write_held(name)
      end
      held[name] = (held[name] or 0) + amount
    end
  end
end
for name in pairs(held) do
  write_held(name)
end
for _, key in ipairs({ KEYS[1], KEYS[2], KEYS[4] }) do
  redis.call("EXPIRE", key, ARGV[10])
end
return { tostring(filled_count) }
