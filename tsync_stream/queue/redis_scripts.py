"""The Lua calls of the Redis tier: each is one atomic step, checks its fence, and may be repeated.

Redis 6.2 to 8 and Valkey run them alike. A stream's `last-generated-id` outlives its entries, so it tells whether
the stream is the one its writer left (https://redis.io/docs/latest/commands/xinfo-stream/).
"""

from hashlib import sha1

_LAST_ID = """
local function last_id(stream)
  local info = redis.pcall('XINFO', 'STREAM', stream)
  if info.err then return nil end
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end
"""

# KEYS stream, head · ARGV fence, token, id of the last entry, its number, payloads ...
APPEND = (
    _LAST_ID
    + """
local held = redis.call('HGET', KEYS[2], 'fence')
local last = last_id(KEYS[1])
if not held or not last then return 'lost' end
if tonumber(held) > tonumber(ARGV[1]) then return 'fenced' end
local number = tonumber(ARGV[4])
local ours = string.format('%.0f-%s', number + #ARGV - 4, ARGV[1])
if last == ours then return 'ok' end
if last ~= ARGV[3] then return 'lost' end
for i = 5, #ARGV do
  redis.call('XADD', KEYS[1], string.format('%.0f-%s', number + i - 4, ARGV[1]), 'e', ARGV[i])
end
redis.call('HSET', KEYS[2], 'fence', ARGV[1], 'last', ours, 'token', ARGV[2])
return 'ok'
"""
)

# KEYS stream, head · ARGV fence -> {'ok', last id, token}
TAKE_OVER = (
    _LAST_ID
    + """
local head = redis.call('HMGET', KEYS[2], 'fence', 'last', 'token')
local last = last_id(KEYS[1])
if not head[1] or not last or head[2] ~= last then return {'lost'} end
if tonumber(head[1]) > tonumber(ARGV[1]) then return {'fenced'} end
if #redis.call('XINFO', 'GROUPS', KEYS[1]) == 0 then return {'lost'} end
redis.call('HSET', KEYS[2], 'fence', ARGV[1])
return {'ok', head[2], head[3]}
"""
)

# KEYS owner · ARGV fence -> the fence that was found. Nothing is set that is so already: a server without memory
# refuses every SET, and an owner that cannot confirm itself could not empty its queue.
OWN = """
local held = tonumber(redis.call('GET', KEYS[1]) or 0)
if held < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
return held
"""

# KEYS stream, owner · ARGV group, fence, ids ...  (unpack is bounded by Lua's stack: a thousand at a time)
ACK = """
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
for i = 3, #ARGV, 1000 do
  local to = math.min(i + 999, #ARGV)
  redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, i, to))
  redis.call('XDEL', KEYS[1], unpack(ARGV, i, to))
end
return 1
"""

# EVALSHA names a script by its SHA-1; that is the protocol's choice, nothing here is a secret.
DIGESTS = {script: sha1(script.encode(), usedforsecurity=False).hexdigest() for script in (APPEND, TAKE_OVER, OWN, ACK)}
