-- The limits of a call, in one atomic step by Redis's own clock: the arithmetic of keys/buckets.py.
--
-- KEYS[1]  the mark of the call: it stands from `take` to `settle`, so each of them counts once, however often it comes
-- KEYS[2…] a key for each ask
-- ARGV[1]  what to do; ARGV[2] the call
-- ARGV[3]  numbers: the lease of a place, the longest lease there is, the life of the mark, all in ms; then for each ask
--          1 for a place or 0 for a bucket, the limit, the amount, 1 where the limit only counts. One text for all of
--          them, and one for the answer, since a client spends more on each value than Redis on the whole script
--
-- `take`   takes every amount, or nothing
-- `settle` gives the amounts back (they may be negative), and the places
-- `renew`  begins the leases of the places anew
-- `look`   changes nothing
--
-- Returns numbers: the time in ms; then for each ask ms to wait (0: it can be met), what remains, ms until it is full.

local PARTS, CALL_MAY_END_IN_MS = 60000, 1000
local verb, call = ARGV[1], ARGV[2]
local numbers = string.gmatch(ARGV[3], '%S+')
local function number() return tonumber(numbers()) end
local lease, longest_lease, life = number(), number(), number()
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function look(ask)
  if ask.is_place then
    -- Later than any lease can end: the clock was set back. Those who still run renew theirs.
    redis.call('ZREMRANGEBYSCORE', ask.key, '(' .. now + longest_lease, '+inf')
    redis.call('ZREMRANGEBYSCORE', ask.key, '-inf', now)
    ask.free = ask.limit - redis.call('ZCARD', ask.key)
    ask.wait = ask.free > 0 and 0 or CALL_MAY_END_IN_MS
    return
  end
  local kept = redis.call('HMGET', ask.key, 'level', 'at')
  ask.level = ask.limit * PARTS
  if kept[1] then
    ask.level = math.min(ask.level, kept[1] + math.max(0, now - kept[2]) * ask.limit)
  end
  ask.wait = math.max(0, math.ceil((ask.amount * PARTS - ask.level) / ask.limit))
end

local function ms_until_full(ask)
  return math.ceil((ask.limit * PARTS - ask.level) / ask.limit)
end

local function keep(ask)
  local full_in = ms_until_full(ask)
  if full_in <= 0 then
    redis.call('DEL', ask.key)
  else
    redis.call('HSET', ask.key, 'level', ask.level, 'at', now)
    redis.call('PEXPIRE', ask.key, full_in + 1000)
  end
end

local function hold_place(ask)
  redis.call('ZADD', ask.key, now + lease, call)
  redis.call('PEXPIRE', ask.key, longest_lease + 1000)
  ask.free = ask.limit - redis.call('ZCARD', ask.key)
end

local asks, is_refused, is_noted = {}, false, false
for i = 2, #KEYS do
  local ask = { key = KEYS[i], is_place = number() == 1, limit = number(), amount = number(), is_shadow = number() == 1 }
  look(ask)
  is_refused = is_refused or (ask.wait > 0 and not ask.is_shadow)
  is_noted = is_noted or (ask.wait > 0 and ask.is_shadow)
  asks[#asks + 1] = ask
end

if verb == 'take' then
  for _, ask in ipairs(asks) do
    local takes = not is_refused and not (ask.is_shadow and is_noted)
    if ask.is_place then
      if takes then hold_place(ask) end
    else
      if takes then ask.level = ask.level - ask.amount * PARTS end
      keep(ask) -- also after a refusal, or the level would stand still until a clock that was set back has caught up
    end
  end
  if not is_refused then redis.call('SET', KEYS[1], 1, 'PX', life) end
elseif verb == 'renew' then
  for _, ask in ipairs(asks) do hold_place(ask) end
elseif verb == 'settle' then
  local was_taken = redis.call('DEL', KEYS[1]) == 1
  for _, ask in ipairs(asks) do
    ask.wait = 0
    if ask.is_place then
      ask.free = ask.free + redis.call('ZREM', ask.key, call)
    elseif was_taken then
      ask.level = math.min(ask.limit * PARTS, ask.level + ask.amount * PARTS)
      keep(ask)
    end
  end
end

local answer = {}
local function say(number) answer[#answer + 1] = string.format('%.0f', number) end
say(now)
for _, ask in ipairs(asks) do
  say(ask.wait)
  if ask.is_place then
    say(math.max(0, ask.free))
    say(0)
  else
    say(math.max(0, math.floor(ask.level / PARTS)))
    say(ms_until_full(ask))
  end
end
return table.concat(answer, ' ')
