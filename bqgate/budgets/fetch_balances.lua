-- Read what stands against windows, all at one moment.
--
-- KEYS[1..] windows (hash)
--
-- Returns, all text: {"unknown", number of a window from 1, ...}, or {"known", captured, held, captured, held, ...},
--   nano-dollars.
-- Cost: 1 command a window. O(windows).

local known = { "known" }
local unknown = { "unknown" }
for i = 1, #KEYS do
  local stands = redis.call("HMGET", KEYS[i], "captured_nanos", "held_nanos")
  if stands[1] then
    known[#known + 1] = stands[1]
    known[#known + 1] = stands[2]
  else
    unknown[#unknown + 1] = tostring(i)
  end
end
if #unknown > 1 then
  return unknown
end
return known
