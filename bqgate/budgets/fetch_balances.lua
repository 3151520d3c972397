-- Read what stands against windows, and the cost breaker, all at one moment.
--
-- KEYS[1]   cost breaker of the customer (hash)
-- KEYS[2]   which drop of windows was the last (string)
-- KEYS[3..] windows (hash)
-- ARGV[1]   any text that was never used before
-- ARGV[2]   seconds that it is known which drop of windows was the last
--
-- Returns, all text: {"unknown", since when (history.lua), number of a window from 1, ...}, or {"known", the breaker:
--   opened_at_us, until_us, probe, emergency_nanos (each "" for none), captured, held, grace_started_us or "", captured,
--   held, ...}, nano-dollars. Whether the breaker's day is over is for the caller to say.
-- Cost: 1 command a window and 2; 3 more when unknown. O(windows).

local known = { "known" }
local breaker = redis.call("HMGET", KEYS[1], "opened_at_us", "until_us", "trial", "emergency_nanos")
for i = 1, 4 do
  known[#known + 1] = breaker[i] or ""
end
local history = read_history()
if not history then
  return REPLICA
end
local unknown = { "unknown", "" }
for i = 3, #KEYS do
  local stands = redis.call("HMGET", KEYS[i], "captured_nanos", "held_nanos", "grace_started_us", "history")
  if stands[1] and stands[4] == history then
    known[#known + 1] = stands[1]
    known[#known + 1] = stands[2]
    known[#known + 1] = stands[3] or ""
  else
    unknown[#unknown + 1] = tostring(i - 2)
  end
end
if #unknown > 2 then
  unknown[2] = unknown_since(history, KEYS[2], ARGV[1], ARGV[2])
  return unknown
end
return known
