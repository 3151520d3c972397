-- Write a key as the other scripts do, where this server would let them decide.
--
-- KEYS[1]   any key (string)
-- ARGV[1]   seconds that it lives
--
-- Returns, text: {"OK"}.
-- Cost: 1 INFO, 1 command. O(1).

if not read_history() then
  return REPLICA
end
redis.call("SET", KEYS[1], "1", "EX", ARGV[1])
return { "OK" }
