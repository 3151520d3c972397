-- Put back one hold that the ledger says is open and the store lost.
--
-- KEYS[1]   holds of the customer (hash)
-- KEYS[2]   idempotency of the customer (hash)
-- KEYS[3]   ended mark of this hold (string)
-- KEYS[4..] windows of the hold (hash)
-- ARGV[1]   hold id, escaped
-- ARGV[2]   idempotency key, escaped; "" for none
-- ARGV[3]   amount, nano-dollars, whole, 0 <= n < 2^53
-- ARGV[4]   record of the hold (keys.hold_record)
--
-- Returns, text: {"restored"} or {"kept"}: it is there, or was ended after the ledger was read.
-- Cost: 4 commands, 2 a window. O(windows).
--
-- No limit is asked: its query may be running. A window that is not there counts the record when it is filled.

if redis.call("HEXISTS", KEYS[1], ARGV[1]) == 1 or redis.call("EXISTS", KEYS[3]) == 1 then
  return { "kept" }
end
redis.call("HSET", KEYS[1], ARGV[1], ARGV[4])
if ARGV[2] ~= "" then
  redis.call("HSETNX", KEYS[2], ARGV[2], ARGV[1])
end
for i = 4, #KEYS do
  if redis.call("EXISTS", KEYS[i]) == 1 then
    redis.call("HINCRBY", KEYS[i], "held_nanos", ARGV[3])
  end
end
return { "restored" }
