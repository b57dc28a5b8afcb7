"""The queue's transactions, as the Lua that the broker runs whole or not at all.

The keys are `shared.stream`'s; each script says what it expects where that is not plain.
"""

# A broker that is out of memory must still be emptied. It refuses what a script would add, unless
# the script has removed something first: so they all begin with that.

# ARGV: events and bytes in all; for each entry its batches and its number of events. Returns the
# backlog in events and bytes.
ADD = """
for i = 3, #ARGV, 2 do
  redis.call('XADD', KEYS[1], '*', 'b', ARGV[i], 'n', ARGV[i + 1])
end
return {
  redis.call('HINCRBY', KEYS[2], 'events', ARGV[1]),
  redis.call('HINCRBY', KEYS[2], 'bytes', ARGV[2])
}
"""

CREATE_GROUP = """
redis.call('HDEL', KEYS[2], '')
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP') then return made end
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[2]) end
"""

# Progress that was made just now has no time yet: it gets the broker's, by which it is judged.
# Returns that time.
_SET_PROGRESS = """
local function set_progress(workers, consumer, packed)
  local progress = cmsgpack.unpack(packed)
  if progress.at == 0 then
    local now = redis.call('TIME')
    progress.at = now[1] + now[2] / 1000000
  end
  redis.call('HSET', workers, consumer, cmsgpack.pack(progress))
  return string.format('%.6f', progress.at)
end
"""

PUBLISH = f"""{_SET_PROGRESS}
redis.call('HDEL', KEYS[1], '')
return set_progress(KEYS[1], ARGV[1], ARGV[2])
"""

BEGIN_WRITE = f"""{_SET_PROGRESS}
redis.call('DEL', KEYS[2])
local at = set_progress(KEYS[1], ARGV[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4])
return {{at, redis.call('GET', KEYS[3])}}
"""

# An entry counts, and its dead letters are kept, for whoever deletes it: once.
# ARGV: group, consumer, progress, new, seen, expired, bound of dead letters, traffic as msgpack,
# bound of its combinations, number of entries; for each entry id, events, bytes; for each dead
# letter its entry's id and its seven fields. Returns the time of the progress, and how many dead
# letters were pushed out.
# Traffic past its bound keeps endpoint and backend, past twice the bound nothing.
ACK = (
    _SET_PROGRESS
    + """
local function key_within(bound, labels)
  local key = cmsgpack.pack(labels)
  if redis.call('HEXISTS', KEYS[7], key) == 1 or redis.call('HLEN', KEYS[7]) < bound then
    return key
  end
end

local function add(sums, numbers)
  for i, number in ipairs(numbers) do
    if type(number) == 'table' then
      sums[i] = add(sums[i] or {}, number)
    else
      sums[i] = (sums[i] or 0) + number
    end
  end
  return sums
end

local function count_traffic(packed, bound)
  for _, cell in ipairs(cmsgpack.unpack(packed)) do
    local _, endpoint, backend = unpack(cell[1])
    local key = key_within(bound, cell[1])
      or key_within(2 * bound, {'other', endpoint, backend})
      or cmsgpack.pack({'other', 'other', 'other'})
    local sums = redis.call('HGET', KEYS[7], key)
    sums = sums and cmsgpack.unpack(sums) or {}
    redis.call('HSET', KEYS[7], key, cmsgpack.pack(add(sums, cell[2])))
  end
end

local gone, events, bytes = {}, 0, 0
local last = 10 + 3 * ARGV[10]
for i = 11, last, 3 do
  if redis.call('XDEL', KEYS[1], ARGV[i]) == 1 then
    gone[ARGV[i]] = true
    events = events + ARGV[i + 1]
    bytes = bytes + ARGV[i + 2]
  end
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
end
local dead, dropped = 0, 0
for i = last + 1, #ARGV, 8 do
  if gone[ARGV[i]] then
    redis.call('XADD', KEYS[6], '*', 'id', ARGV[i + 1], 'reason', ARGV[i + 2],
      'at', ARGV[i + 3], 'source', ARGV[i + 4], 'attempts', ARGV[i + 5], 'payload', ARGV[i + 6],
      'timestamp', ARGV[i + 7])
    dead = dead + 1
  end
end
if dead > 0 then
  redis.call('HINCRBY', KEYS[3], 'dead', dead)
  dropped = redis.call('XTRIM', KEYS[6], 'MAXLEN', ARGV[7])
  redis.call('HINCRBY', KEYS[3], 'dead_dropped', dropped)
end
if next(gone) then
  redis.call('HINCRBY', KEYS[2], 'events', -events)
  redis.call('HINCRBY', KEYS[2], 'bytes', -bytes)
  redis.call('HINCRBY', KEYS[3], 'written', ARGV[4])
  redis.call('HINCRBY', KEYS[3], 'duplicates', ARGV[5])
  redis.call('HINCRBY', KEYS[3], 'expired', ARGV[6])
  count_traffic(ARGV[8], tonumber(ARGV[9]))
end
if redis.call('XLEN', KEYS[1]) == 0 then redis.call('DEL', KEYS[2]) end
local at = set_progress(KEYS[4], ARGV[2], ARGV[3])
redis.call('DEL', KEYS[5])
return {at, dropped}
"""
)

# Moves dead letters onto the stream, each as an entry of its own, which carries its attempts on.
# ARGV: `through`, the last letter to move, how many; or `these`, the letters to move.
REPLAY = """
local letters, missing = {}, {}
if ARGV[1] == 'through' then
  letters = redis.call('XRANGE', KEYS[1], '-', ARGV[2], 'COUNT', ARGV[3])
else
  for i = 2, #ARGV do
    local letter = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])[1]
    table.insert(letter and letters or missing, letter or ARGV[i])
  end
end
for _, letter in ipairs(letters) do
  local fields = {}
  for i = 1, #letter[2], 2 do fields[letter[2][i]] = letter[2][i + 1] end
  redis.call('XDEL', KEYS[1], letter[1])
  redis.call('XADD', KEYS[2], '*', 'b', fields.payload, 'n', 1, 'attempts', fields.attempts)
  redis.call('HINCRBY', KEYS[3], 'events', 1)
  redis.call('HINCRBY', KEYS[3], 'bytes', #fields.payload)
  redis.call('HINCRBY', KEYS[4], 'replayed', 1)
end
return {#letters, missing}
"""

# ARGV: where to begin, how many letters to look at, the horizon. Returns how many went, and where
# to go on; nothing where that was the last.
EXPIRE_LETTERS = """
local letters = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
local horizon, gone = tonumber(ARGV[3]), 0
for _, letter in ipairs(letters) do
  local moment = math.floor(string.match(letter[1], '%d+') / 1000)
  for i = 1, #letter[2], 2 do
    local timestamp = letter[2][i] == 'timestamp' and tonumber(letter[2][i + 1])
    moment = math.min(moment, timestamp or moment)
  end
  if moment <= horizon then gone = gone + redis.call('XDEL', KEYS[1], letter[1]) end
end
return {gone, #letters == tonumber(ARGV[2]) and '(' .. letters[#letters][1]}
"""

# The id alone: the entry itself may be half a megabyte.
OLDEST = """
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
return first and first[1]
"""

# Without a stream (it was flushed) a worker may still hold entries of it: all that are older than
# this millisecond are dropped.
DROP_ALL = """
local last
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
  redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)
  redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], last)
else
  local now = redis.call('TIME')
  last = string.format('%.0f-18446744073709551615', now[1] * 1000 + math.floor(now[2] / 1000) - 1)
end
redis.call('SET', KEYS[2], last)
redis.call('DEL', KEYS[3], KEYS[4], KEYS[5])
return last
"""

# A consumer that has just been given entries must stay: with it they would leave the group.
FORGET = """
local holds = {}
local infos = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
for _, info in ipairs(infos) do
  local fields = {}
  for i = 1, #info, 2 do fields[info[i]] = info[i + 1] end
  holds[fields.name] = fields.pending
end
local gone = 0
for i = 2, #ARGV do
  local name = ARGV[i]
  if (holds[name] or 0) == 0 then
    if holds[name] then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], name) end
    redis.call('HDEL', KEYS[2], name)
    gone = gone + 1
  end
end
return gone
"""
