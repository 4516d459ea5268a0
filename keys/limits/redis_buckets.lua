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
-- `renew`   starts the leases of the slots and the life of the mark again
-- `check`   changes nothing
--
-- Returns numbers: the time in ms; the epoch (`presence.lua`), 0 without one; then for each check the wait in ms (0: available), the remaining units, and the ms
-- until the limit is fully replenished.
--
-- What is stored is foreign input: a key of another type, or a number that is none, counts as absent.

local SLOTS, LIMIT_PREFIX = 'messages-gateway:slots', 'messages-gateway:limit:' -- `presence.lua` reads which are in use
local PARTS, SLOT_RETRY_MS, BLOCKED_MS, EXACT = 60000, 1000, 60000, 2 ^ 53
local verb, request = ARGV[1], ARGV[2]
local numbers = string.gmatch(ARGV[3], '%S+')
local function number() return tonumber(numbers()) end
local lease, longest_lease, life = number(), number(), number()
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Call a command of one key, whatever type the key has.
local function call(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) == 'table' and reply.err and string.find(reply.err, 'WRONGTYPE', 1, true) then
    redis.call('DEL', key)
    return redis.call(command, key, ...)
  end
  if type(reply) == 'table' and reply.err then error(reply) end
  return reply
end

local function whole(text)
  local found = text and tonumber(text)
  return found and found > -EXACT and found < EXACT and math.floor(found) or nil
end

local function refresh_slots(check)
  -- Later than any lease can end: the clock was set back. In-flight requests renew theirs.
  call('ZREMRANGEBYSCORE', check.key, '(' .. now + longest_lease, '+inf')
  call('ZREMRANGEBYSCORE', check.key, '-inf', now)
  check.free = check.limit - call('ZCARD', check.key)
  check.wait = check.free > 0 and 0 or SLOT_RETRY_MS
end

-- Refill a bucket. `offset` is the level at the last change of the limit without the cap of the capacity, minus the
-- capacity: a request that consumed before the change is settled as if its usage had been known then.
local function refresh_bucket(check)
  local stored = call('HMGET', check.key, 'level', 'at', 'limit', 'offset')
  local level, at, limit = whole(stored[1]), whole(stored[2]), whole(stored[3])
  -- The limit of a bucket is that of the latest request: one that is settled may have begun under another.
  check.bucket_limit = verb == 'settle' and limit and limit > 0 and limit or check.limit
  local capacity = check.bucket_limit * PARTS
  check.level = capacity
  if level and at and limit then
    local refilled = level + math.max(0, now - at) * check.bucket_limit
    check.level = math.min(capacity, refilled)
    if limit == check.bucket_limit then check.offset = whole(stored[4]) else check.offset = refilled - capacity end
  end
  local missing = check.amount * PARTS - check.level
  check.wait = check.amount == 0 and 0 or math.max(0, math.ceil(missing / check.limit))
end

local function ms_until_full(check)
  return math.ceil((check.bucket_limit * PARTS - check.level) / check.bucket_limit)
end

local function store(check)
  local full_in = ms_until_full(check)
  if full_in <= 0 then
    redis.call('DEL', check.key)
  else
    redis.call('HSET', check.key, 'level', check.level, 'at', now, 'limit', check.bucket_limit)
    if check.offset then redis.call('HSET', check.key, 'offset', check.offset) end
    redis.call('PEXPIRE', check.key, full_in + 1000)
  end
end

local function refund(check)
  local parts = check.amount * PARTS
  if check.limit ~= check.bucket_limit then
    local offset = check.offset or 0 -- without one, the bucket was full under the limit that holds now
    local before = math.min(0, offset)
    check.offset = offset + parts
    parts = math.min(0, check.offset) - before
  end
  check.level = math.min(check.bucket_limit * PARTS, check.level + parts)
  store(check)
end

local function take_slot(check)
  call('ZADD', check.key, now + lease, request)
  redis.call('PEXPIRE', check.key, longest_lease + 1000)
  call('ZADD', SLOTS, now + longest_lease, string.sub(check.key, #LIMIT_PREFIX + 1))
  redis.call('PEXPIRE', SLOTS, longest_lease)
  check.free = check.limit - redis.call('ZCARD', check.key)
end

local checks, is_limited, is_shadow_limited = {}, false, false
for i = 2, #KEYS do
  local check = { key = KEYS[i], is_slot = number() == 1, limit = number(), amount = number(), is_shadow = number() == 1 }
  check.is_blocked = check.limit < 1 -- a limit of 0 admits nothing and stores nothing
  if check.is_blocked then
    check.free, check.wait = 0, check.amount == 0 and 0 or BLOCKED_MS
  elseif check.is_slot then
    refresh_slots(check)
  else
    refresh_bucket(check)
  end
  is_limited = is_limited or (check.wait > 0 and not check.is_shadow)
  is_shadow_limited = is_shadow_limited or (check.wait > 0 and check.is_shadow)
  checks[#checks + 1] = check
end

local function consume(check)
  local consumes = not is_limited and not (check.is_shadow and is_shadow_limited)
  if check.is_slot then
    if consumes then take_slot(check) end
  else
    if consumes and check.amount > 0 then
      check.level = check.level - check.amount * PARTS
      call('SADD', KEYS[1], check.key)
    end
    store(check) -- also of a rejected request, or the level would not change until a clock that was set back catches up
  end
end

local function settle(check)
  check.wait = 0
  if check.is_slot then
    check.free = check.free + call('ZREM', check.key, request)
  elseif call('SREM', KEYS[1], check.key) == 1 then
    refund(check)
  end
end

local actions = { consume = consume, settle = settle, renew = take_slot, check = function() end }
for _, check in ipairs(checks) do
  if not check.is_blocked then actions[verb](check) end
end
if verb == 'consume' or verb == 'renew' then redis.call('PEXPIRE', KEYS[1], life) end

local reply = {}
local function add(number) reply[#reply + 1] = string.format('%.0f', number) end
add(now)
add(whole(call('GET', 'messages-gateway:epoch')) or 0)
for _, check in ipairs(checks) do
  add(check.wait)
  if check.is_slot or check.is_blocked then
    add(math.max(0, check.free))
    add(0)
  else
    add(math.max(0, math.min(check.limit, math.floor(check.level / PARTS))))
    add(ms_until_full(check))
  end
end
return table.concat(reply, ' ')
