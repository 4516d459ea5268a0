-- The limits of a request, in one atomic step by the clock of Redis: the arithmetic of keys/limits/local_buckets.py.
--
-- KEYS[1]  the mark of the request, from `consume` to `settle`: the set of the buckets that it consumed of, since it
--          consumes in two steps, and Redis may know of one only. Each counts once, however often it is settled
-- KEYS[2…] a key for each check
-- ARGV[1]  the verb; ARGV[2] the request ID
-- ARGV[3]  numbers: the lease of a slot, the longest lease, the life of the mark, all in ms; then for each check 1 for a
--          slot or 0 for a bucket, the limit, the amount, and 1 in shadow mode. One text for all numbers, and one for
--          the reply, since a client spends more time on each value than Redis on the whole script
--
-- `consume` consumes every amount, or nothing. An amount of 0 is never limited
-- `settle`  refunds the amounts (they may be negative), and frees the slots
-- `renew`   starts the leases of the slots again
-- `check`   changes nothing
--
-- Returns numbers: the time in ms; then for each check the wait in ms (0: available), the remaining units, and the ms
-- until the limit is fully replenished.

local PARTS, SLOT_RETRY_MS = 60000, 1000
local verb, request = ARGV[1], ARGV[2]
local numbers = string.gmatch(ARGV[3], '%S+')
local function number() return tonumber(numbers()) end
local lease, longest_lease, life = number(), number(), number()
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function refresh(check)
  if check.is_slot then
    -- Later than any lease can end: the clock was set back. In-flight requests renew theirs.
    redis.call('ZREMRANGEBYSCORE', check.key, '(' .. now + longest_lease, '+inf')
    redis.call('ZREMRANGEBYSCORE', check.key, '-inf', now)
    check.free = check.limit - redis.call('ZCARD', check.key)
    check.wait = check.free > 0 and 0 or SLOT_RETRY_MS
    return
  end
  local stored = redis.call('HMGET', check.key, 'level', 'at')
  check.level = check.limit * PARTS
  if stored[1] then
    check.level = math.min(check.level, stored[1] + math.max(0, now - stored[2]) * check.limit)
  end
  check.wait = check.amount == 0 and 0 or math.max(0, math.ceil((check.amount * PARTS - check.level) / check.limit))
end

local function ms_until_full(check)
  return math.ceil((check.limit * PARTS - check.level) / check.limit)
end

local function store(check)
  local full_in = ms_until_full(check)
  if full_in <= 0 then
    redis.call('DEL', check.key)
  else
    redis.call('HSET', check.key, 'level', check.level, 'at', now)
    redis.call('PEXPIRE', check.key, full_in + 1000)
  end
end

local function take_slot(check)
  redis.call('ZADD', check.key, now + lease, request)
  redis.call('PEXPIRE', check.key, longest_lease + 1000)
  check.free = check.limit - redis.call('ZCARD', check.key)
end

local checks, is_limited, is_shadow_limited = {}, false, false
for i = 2, #KEYS do
  local check = { key = KEYS[i], is_slot = number() == 1, limit = number(), amount = number(), is_shadow = number() == 1 }
  refresh(check)
  is_limited = is_limited or (check.wait > 0 and not check.is_shadow)
  is_shadow_limited = is_shadow_limited or (check.wait > 0 and check.is_shadow)
  checks[#checks + 1] = check
end

if verb == 'consume' then
  for _, check in ipairs(checks) do
    local consumes = not is_limited and not (check.is_shadow and is_shadow_limited)
    if check.is_slot then
      if consumes then take_slot(check) end
    else
      if consumes and check.amount > 0 then
        check.level = check.level - check.amount * PARTS
        redis.call('SADD', KEYS[1], check.key)
      end
      store(check) -- also of a rejected request, or the level would not change until a clock that was set back catches up
    end
  end
  redis.call('PEXPIRE', KEYS[1], life)
elseif verb == 'renew' then
  for _, check in ipairs(checks) do take_slot(check) end
elseif verb == 'settle' then
  for _, check in ipairs(checks) do
    check.wait = 0
    if check.is_slot then
      check.free = check.free + redis.call('ZREM', check.key, request)
    elseif redis.call('SREM', KEYS[1], check.key) == 1 then
      check.level = math.min(check.limit * PARTS, check.level + check.amount * PARTS)
      store(check)
    end
  end
end

local reply = {}
local function add(number) reply[#reply + 1] = string.format('%.0f', number) end
add(now)
for _, check in ipairs(checks) do
  add(check.wait)
  if check.is_slot then
    add(math.max(0, check.free))
    add(0)
  else
    add(math.max(0, math.floor(check.level / PARTS)))
    add(ms_until_full(check))
  end
end
return table.concat(reply, ' ')
