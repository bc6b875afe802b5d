"""The Lua scripts of the Redis tier: each is one atomic step, checks its fence, and may be repeated.

Redis 6.2 to 8 and Valkey run them alike. A stream's `last-generated-id` outlives its entries, so it shows whether the
stream is as its writer left it (https://redis.io/docs/latest/commands/xinfo-stream/).
"""

from hashlib import sha1

_LAST_ID = """
local function last_id(stream)
  local info = redis.pcall('XINFO', 'STREAM', stream)
  if info.err then
    if string.find(info.err, 'no such key', 1, true) then return nil end
    redis.call('XINFO', 'STREAM', stream)  -- raised as it is: a refusal is not a loss
  end
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end
"""

# KEYS stream, head · ARGV fence, token, last id before this call, last id after it, then id, record batch, id, ...
APPEND = (
    _LAST_ID
    + """
local held = redis.call('HGET', KEYS[2], 'fence')
local last = last_id(KEYS[1])
if not held or not last then return 'lost' end
if tonumber(held) > tonumber(ARGV[1]) then return 'fenced' end
if last == ARGV[4] then return 'ok' end
if last ~= ARGV[3] then return 'lost' end
for i = 5, #ARGV, 2 do
  redis.call('XADD', KEYS[1], ARGV[i], 'e', ARGV[i + 1])
end
redis.call('HSET', KEYS[2], 'fence', ARGV[1], 'last', ARGV[4], 'token', ARGV[2])
return 'ok'
"""
)

# KEYS stream, head · ARGV fence, group -> {'ok', last id, token}
TAKE_OVER = (
    _LAST_ID
    + """
local head = redis.call('HMGET', KEYS[2], 'fence', 'last', 'token')
local last = last_id(KEYS[1])
if not head[1] or not last or head[2] ~= last then return {'lost'} end
if tonumber(head[1]) > tonumber(ARGV[1]) then return {'fenced'} end
local grouped = false
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  for i = 1, #group, 2 do
    if group[i] == 'name' and group[i + 1] == ARGV[2] then grouped = true end
  end
end
if not grouped then return {'lost'} end
redis.call('HSET', KEYS[2], 'fence', ARGV[1])
return {'ok', head[2], head[3]}
"""
)

# KEYS stream, head · ARGV group, fence, token. A repetition finds what the first call created.
CREATE = """
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
redis.call('HSET', KEYS[2], 'fence', ARGV[2], 'last', '0-0', 'token', ARGV[3])
return 'ok'
"""

# KEYS stream, owner · ARGV fence -> {the fence that was found, the offset up to which all is acked}, or {} without a
# stream: an owner that comes late, after its epoch was removed, must not leave its fence behind. A fence that is there
# is not written again: a server without memory refuses writes, and an owner must be able to empty its queue then.
OWN = (
    _LAST_ID
    + """
if not last_id(KEYS[1]) then return {} end
local held = redis.call('HMGET', KEYS[2], 'fence', 'acked')
local fence = tonumber(held[1] or 0)
if fence < tonumber(ARGV[1]) then redis.call('HSET', KEYS[2], 'fence', ARGV[1]) end
return {fence, tonumber(held[2] or 0)}
"""
)

# KEYS stream · ARGV group, consumer, limit -> {last delivered id, next cursor, entries}, all of one moment: an entry
# read between two calls would count as delivered and not be claimed. Not MULTI: out of memory, Redis before 7.2 refuses
# it as a whole (XAUTOCLAIM alone it allows), and then nothing could empty the queue.
CLAIM = """
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local name, delivered
  for i = 1, #group, 2 do
    if group[i] == 'name' then name = group[i + 1] end
    if group[i] == 'last-delivered-id' then delivered = group[i + 1] end
  end
  if name == ARGV[1] then
    local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, '0-0', 'COUNT', ARGV[3])
    return {delivered, claimed[1], claimed[2]}
  end
end
return {}
"""

# KEYS stream, owner · ARGV group, fence, ids ...  (unpack is bounded by Lua's stack: a thousand at a time)
# `acked` is written last: once a script has freed something, a server without memory lets it write.
ACK = """
local held = redis.call('HMGET', KEYS[2], 'fence', 'acked')
if held[1] ~= ARGV[2] then return 0 end
for i = 3, #ARGV, 1000 do
  local to = math.min(i + 999, #ARGV)
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, i, to))
  redis.call('XDEL', KEYS[1], unpack(ARGV, i, to))
end
local last = tonumber(string.match(ARGV[#ARGV], '^%d+'))
if last > tonumber(held[2] or 0) then redis.call('HSET', KEYS[2], 'acked', string.format('%.0f', last)) end
return 1
"""

# EVALSHA names a script by its SHA-1, as the protocol demands; nothing here is secret.
DIGESTS = {
    script: sha1(script.encode(), usedforsecurity=False).hexdigest()
    for script in (APPEND, TAKE_OVER, CREATE, OWN, CLAIM, ACK)
}
