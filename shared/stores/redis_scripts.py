"""The Lua scripts of the Redis store. Each runs alone in Redis: all of it or nothing of it is seen.

They use commands of Redis 6.2 alone. Whatever can fail is done before the first write, since Redis
does not undo what a script has written.

`CHANGE` adds events or takes them out, with their index and their cells. Which events, and what
they change, is worked out by the caller beforehand; the script first makes sure that this is still
so, and else does nothing. `PAGE` reads ids in the order of events. `REPLACE` puts the sum of
segments in their place. `LAST` has the keys of a generation last as long as its events do. `CLEAR`
begins a new generation, `FORGET` says that the old ones are gone.
"""

from __future__ import annotations

CHANGE = """
-- KEYS: generation, timeline, hours, lasting
-- ARGV: the generation that the caller knows, 'add' or 'remove', seconds to live or '', changes
local adding = ARGV[2] == 'add'
-- Redis itself drops a key a day after all in it has ended. No block of cells is longer than that:
-- when events go in this way, every block they are in has ended too.
local lasting = adding and ARGV[3] ~= '' and tonumber(ARGV[3]) + 86400
local change = cmsgpack.unpack(ARGV[4])
local ids, timestamps = change[1], change[2]
local find, sub = string.find, string.sub

if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then return 0 end
for i = 1, #ids, 1000 do
  local last = math.min(i + 999, #ids)
  local scores = redis.call('ZMSCORE', KEYS[2], unpack(ids, i, last))
  for k = i, last do
    local score = scores[k - i + 1]
    if adding and score then return 0 end
    if not adding and tonumber(score or -1) ~= timestamps[k] then return 0 end
  end
end

local function call_with_many(command, key, arguments)
  for i = 1, #arguments, 1000 do
    redis.call(command, key, unpack(arguments, i, math.min(i + 999, #arguments)))
  end
end

-- Replace the values of fields by what `changed` makes of them; nil takes a field away.
local function update(key, fields, changes, changed)
  for i = 1, #fields, 500 do
    local last = math.min(i + 499, #fields)
    local old = redis.call('HMGET', key, unpack(fields, i, last))
    local set, gone = {}, {}
    for k = i, last do
      local new = changed(old[k - i + 1], changes[k])
      if new then
        set[#set + 1] = fields[k]
        set[#set + 1] = new
      else
        gone[#gone + 1] = fields[k]
      end
    end
    if #set > 0 then redis.call('HSET', key, unpack(set)) end
    if #gone > 0 then redis.call('HDEL', key, unpack(gone)) end
  end
end

-- Seconds of an hour, two bytes each: minute, and second + 64. No byte of the one kind is one of
-- the other, so that a plain search finds nothing across two of them.
local function add_seconds(old, seconds)
  if not old then return seconds end
  local new = {old}
  for i = 1, #seconds, 2 do
    local second = sub(seconds, i, i + 1)
    if not find(old, second, 1, true) then new[#new + 1] = second end
  end
  return table.concat(new)
end

local function remove_seconds(old, seconds)
  local left = old or ''
  for i = 1, #seconds, 2 do
    local at = find(left, sub(seconds, i, i + 1), 1, true)
    if at then left = sub(left, 1, at - 1) .. sub(left, at + 2) end
  end
  if left ~= '' then return left end
end

for _, hour in ipairs(change[3]) do
  local events, index, start, fields, seconds = hour[1], hour[2], hour[3], hour[5], hour[6]
  if adding then
    call_with_many('HSET', events, hour[4])
    update(index, fields, seconds, add_seconds)
    redis.call('ZADD', KEYS[3], start, start)
    if lasting then
      redis.call('EXPIREAT', events, start + 3600 + lasting)
      redis.call('EXPIREAT', index, start + 3600 + lasting)
    end
  else
    call_with_many('HDEL', events, hour[4])
    update(index, fields, seconds, remove_seconds)
    if redis.call('EXISTS', events) == 0 then
      redis.call('UNLINK', index)
      redis.call('ZREM', KEYS[3], start)
    end
  end
end

if adding then
  local scored = {}
  for i = 1, #ids do
    scored[2 * i - 1] = timestamps[i]
    scored[2 * i] = ids[i]
  end
  call_with_many('ZADD', KEYS[2], scored)
else
  call_with_many('ZREM', KEYS[2], ids)
  if redis.call('EXISTS', KEYS[2]) == 0 then redis.call('DEL', KEYS[4]) end
end

for _, block in ipairs(change[4]) do
  local start, stop, cells, segments = block[1], block[2], block[3], block[4]
  if not adding and redis.call('ZCOUNT', KEYS[2], start, '(' .. stop) == 0 then
    redis.call('UNLINK', unpack(cells))
  else
    for i = 1, #segments, 3 do
      if adding or redis.call('EXISTS', segments[i]) == 1 then
        redis.call('HSET', segments[i], segments[i + 1], segments[i + 2])
        if lasting then redis.call('EXPIREAT', segments[i], stop + lasting) end
      end
    end
  end
end

if lasting then
  redis.call('SET', KEYS[4], ARGV[3], 'NX')
  local newest = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  for i = 2, 4 do redis.call('EXPIREAT', KEYS[i], tonumber(newest[2]) + lasting + 86400) end
end
return 1
"""

PAGE = """
-- KEYS: timeline
-- ARGV: 'asc' or 'desc', the timestamp to begin at, how many, then none or the id to begin after
local ascending, timestamp, id = ARGV[1] == 'asc', ARGV[2], ARGV[4]

-- Comparing strings by < would follow the server's locale.
local function precedes(one, other)
  for i = 1, math.min(#one, #other) do
    local a, b = string.byte(one, i), string.byte(other, i)
    if a ~= b then return a < b end
  end
  return #one < #other
end

local low = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. timestamp)
local high = low + redis.call('ZCOUNT', KEYS[1], timestamp, timestamp)
if not id then
  if not ascending then low = high end
else
  while low < high do
    local middle = math.floor((low + high) / 2)
    local found = redis.call('ZRANGE', KEYS[1], middle, middle)[1]
    if precedes(found, id) or (ascending and found == id) then
      low = middle + 1
    else
      high = middle
    end
  end
end
local count = tonumber(ARGV[3])
if ascending then return redis.call('ZRANGE', KEYS[1], low, low + count - 1, 'WITHSCORES') end
if low == 0 then return {} end
return redis.call('ZRANGE', KEYS[1], math.max(0, low - count), low - 1, 'WITHSCORES')
"""

LAST = """
-- KEYS: timeline, hours, lasting
-- ARGV: seconds to live or ''
local newest = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if ARGV[1] == '' or not newest then
  redis.call('PERSIST', KEYS[1])
  redis.call('PERSIST', KEYS[2])
  redis.call('DEL', KEYS[3])
else
  redis.call('SET', KEYS[3], ARGV[1])
  for i = 1, 3 do redis.call('EXPIREAT', KEYS[i], newest + ARGV[1] + 172800) end
end
"""

CLEAR = """
-- KEYS: generation, clearing
-- A server that is out of memory refuses what might need more, unless the script has written
-- already: this makes sure that it can be cleared.
redis.call('DEL', KEYS[2])
local generation = redis.call('INCR', KEYS[1])
redis.call('SET', KEYS[2], generation)
return generation
"""

REPLACE = """
-- KEYS: a hash of segments
-- ARGV: what takes the place of others, as an id and a segment, or twice '', then the others' ids
for i = 3, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0 then return 0 end
end
if ARGV[1] ~= '' then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
for i = 3, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
return 1
"""

FORGET = """
-- Take a key away while it still has this value.
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
