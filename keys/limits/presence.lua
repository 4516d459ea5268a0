-- A worker reports that it runs, and learns what it must know while Redis is unavailable.
--
-- KEYS[1] the workers, each with the end of its report; KEYS[2] the epoch, which changes when Redis loses its data
-- ARGV[1] the worker; ARGV[2] the life of its report in ms; ARGV[3] the prefix of concurrency limits
--
-- Returns the epoch, the number of workers, the rank of this one among them, and the names of concurrency limits in use, each followed by its slots.

local MOST = 1000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local life = tonumber(ARGV[2])

for _, key in ipairs({ KEYS[1], KEYS[3] }) do
  if redis.call('TYPE', key).ok ~= 'zset' then redis.call('DEL', key) end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  redis.call('ZREMRANGEBYSCORE', key, '(' .. now + life, '+inf') -- the clock was set back
end
redis.call('ZADD', KEYS[1], now + life, ARGV[1])
redis.call('PEXPIRE', KEYS[1], life)

if redis.call('TYPE', KEYS[2]).ok ~= 'string' or not tonumber(redis.call('GET', KEYS[2])) then
  redis.call('SET', KEYS[2], string.format('%.0f', now))
end
redis.call('PEXPIRE', KEYS[2], 4 * life)

local workers, rank = redis.call('ZRANGE', KEYS[1], 0, -1), 0
for _, worker in ipairs(workers) do
  if worker < ARGV[1] then rank = rank + 1 end
end

local reply = { redis.call('GET', KEYS[2]), #workers, rank }
for _, name in ipairs(redis.call('ZREVRANGE', KEYS[3], 0, MOST - 1)) do
  local slots = redis.pcall('ZCOUNT', ARGV[3] .. name, '(' .. now, '+inf')
  if type(slots) == 'number' and slots > 0 then
    reply[#reply + 1] = name
    reply[#reply + 1] = slots
  end
end
return reply
