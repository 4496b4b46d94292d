"""The Lua that runs inside Redis, where nothing comes between its steps.

Keys, all below one prefix that every script is given as KEYS[1]:
    entry:<id>      hash: what is kept of an entry, its images as image:0, image:1, ...
    direct:<hex>    string: the id of the entry with this direct digest
    space:<hex>     set: the ids of a scope's namespace
    log             sorted set: sketches by the number of their addition
    use, expiry     sorted sets: ids by the time of their last use, and of their expiry
    bytes           integer: the sizes of all entries
    life            random: another one after a server has lost what it held
    number          integer: additions so far

The keys of entries are derived inside the scripts, so in a cluster the prefix is in braces: all keys are on one server.
"""

from __future__ import annotations

from typing import Final

from service.storage.redis import Script

_REMOVE: Final = """
local prefix = KEYS[1]
local function remove(id)
    local entry = redis.call('HMGET', prefix .. 'entry:' .. id, 'direct', 'space', 'sketch', 'size')
    redis.call('ZREM', prefix .. 'use', id)
    redis.call('ZREM', prefix .. 'expiry', id)
    if not entry[1] then
        return 0
    end
    if redis.call('GET', prefix .. 'direct:' .. entry[1]) == id then
        redis.call('DEL', prefix .. 'direct:' .. entry[1])
    end
    redis.call('SREM', prefix .. 'space:' .. entry[2], id)
    redis.call('ZREM', prefix .. 'log', entry[3])
    redis.call('DECRBY', prefix .. 'bytes', entry[4])
    redis.call('UNLINK', prefix .. 'entry:' .. id)
    return 1
end
-- What was not used for longest goes, until `wanted` bytes and `more` entries fit, or `most` are gone.
local function make_room(wanted, more, max_bytes, max_entries, most)
    local removed = 0
    while removed < most do
        local held = tonumber(redis.call('GET', prefix .. 'bytes') or '0')
        local entries = redis.call('ZCARD', prefix .. 'use')
        if entries == 0 or (held + wanted <= max_bytes and entries + more <= max_entries) then
            break
        end
        remove(redis.call('ZRANGE', prefix .. 'use', 0, 0)[1])
        removed = removed + 1
    end
    return removed
end
"""

READ: Final = Script("""
-- ARGV: a direct digest or an empty string, an id, now. Returns the entry's fields and values in turn, or nothing.
local prefix, id = KEYS[1], ARGV[2]
if ARGV[1] ~= '' then
    id = redis.call('GET', prefix .. 'direct:' .. ARGV[1])
    if not id then
        return {}
    end
end
local expires = redis.call('HGET', prefix .. 'entry:' .. id, 'expires')
if not expires or tonumber(expires) <= tonumber(ARGV[3]) then
    return {}
end
redis.call('ZADD', prefix .. 'use', ARGV[3], id)
return redis.call('HGETALL', prefix .. 'entry:' .. id)
""")

ADDITIONS: Final = Script("""
-- ARGV: the life and number known, a new life in case there is none, how many at most.
-- Returns the life, the number of the last sketch, how many there are, and all of them as one string.
local prefix = KEYS[1]
redis.call('SET', prefix .. 'life', ARGV[3], 'NX')
local life = redis.call('GET', prefix .. 'life')
local since = 0
if life == ARGV[1] then
    since = ARGV[2]
end
local log = prefix .. 'log'
local sketches = redis.call('ZRANGEBYSCORE', log, '(' .. since, '+inf', 'LIMIT', 0, ARGV[4])
local last = since
if #sketches > 0 then
    last = redis.call('ZSCORE', log, sketches[#sketches])
end
return {life, tostring(last), #sketches, table.concat(sketches)}
""")

PUT: Final = Script(
    _REMOVE
    + """
-- ARGV: id, direct, space, sketch, size, expires, now, most bytes, most entries, then fields and values in turn.
local id, direct = ARGV[1], ARGV[2]
local older = redis.call('GET', prefix .. 'direct:' .. direct)
if older then
    remove(older)
end
make_room(tonumber(ARGV[5]), 1, tonumber(ARGV[8]), tonumber(ARGV[9]), math.huge)
redis.call('HSET', prefix .. 'entry:' .. id, 'id', id, 'direct', direct, 'space', ARGV[3], 'sketch', ARGV[4],
    'size', ARGV[5], 'expires', ARGV[6])
for at = 10, #ARGV, 2 do
    redis.call('HSET', prefix .. 'entry:' .. id, ARGV[at], ARGV[at + 1])
end
redis.call('SET', prefix .. 'direct:' .. direct, id)
redis.call('SADD', prefix .. 'space:' .. ARGV[3], id)
redis.call('ZADD', prefix .. 'use', ARGV[7], id)
redis.call('ZADD', prefix .. 'expiry', ARGV[6], id)
redis.call('INCRBY', prefix .. 'bytes', ARGV[5])
redis.call('ZADD', prefix .. 'log', redis.call('INCR', prefix .. 'number'), ARGV[4])
"""
)

DELETE: Final = Script(
    _REMOVE
    + """
-- ARGV: id, scope.
if redis.call('HGET', prefix .. 'entry:' .. ARGV[1], 'scope') ~= ARGV[2] then
    return 0
end
return remove(ARGV[1])
"""
)

DELETE_SPACE: Final = Script(
    _REMOVE
    + """
-- ARGV: space, how many at most.
local ids = redis.call('SRANDMEMBER', prefix .. 'space:' .. ARGV[1], ARGV[2])
for _, id in ipairs(ids) do
    remove(id)
end
return #ids
"""
)

SWEEP: Final = Script(
    _REMOVE
    + """
-- ARGV: now, most bytes, most entries, how many to remove at most.
local most = tonumber(ARGV[4])
local expired = redis.call('ZRANGEBYSCORE', prefix .. 'expiry', '-inf', ARGV[1], 'LIMIT', 0, most)
for _, id in ipairs(expired) do
    remove(id)
end
return #expired + make_room(0, 0, tonumber(ARGV[2]), tonumber(ARGV[3]), most - #expired)
"""
)
