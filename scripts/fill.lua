-- Fills a Redis with keys of every core type, the same ones every time: `redis-cli --eval scripts/fill.lua , FROM COUNT NOW_MS`
-- writes key numbers FROM to FROM+COUNT-1 into the selected database. A fifth of the keys expires, an hour to a year from NOW_MS.
-- A fourth argument `no-streams` makes counters of what would be streams; a fifth is how many elements a value has at most
-- (8 unless given).
local from, count, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local most = tonumber(ARGV[5]) or 8

-- A small generator of our own: math.random is reseeded by the server for each script.
local state = from * 7919 + 12345
local function dice(limit)
  state = (state * 1103515245 + 12345) % 2147483648
  return math.floor(state / 65536) % limit
end

local function bytes(length)
  local out = {}
  for i = 1, length do out[i] = string.char(dice(256)) end
  return table.concat(out)
end

for i = from, from + count - 1 do
  local kind, key = i % 8, nil
  if kind == 0 then
    key = 'session:' .. i
    redis.call('SET', key, 'value ' .. i .. ' ' .. string.rep('x', dice(80)))
  elseif kind == 1 then
    key = 'blob:' .. i .. ':' .. bytes(6)
    redis.call('SET', key, bytes(dice(64)))
  elseif kind == 2 then
    key = 'user:' .. i
    redis.call('HSET', key, 'name', 'user ' .. i, 'age', dice(90), bytes(4), bytes(8))
    for n = 9, dice(most) do redis.call('HSET', key, 'field ' .. n, 'value ' .. dice(10000)) end
  elseif kind == 3 then
    key = 'queue:' .. i
    for n = 1, 1 + dice(most) do redis.call('RPUSH', key, 'job ' .. n .. ' of ' .. i) end
  elseif kind == 4 then
    key = 'tags:' .. i
    for n = 1, 1 + dice(most) do redis.call('SADD', key, i % 2 == 0 and dice(1000) or 'tag-' .. dice(1000)) end
  elseif kind == 5 then
    key = 'board:' .. i
    for n = 1, 1 + dice(most) do redis.call('ZADD', key, dice(100000) / 7, 'player-' .. n) end
  elseif kind == 6 and i % 80 == 6 and ARGV[4] ~= 'no-streams' then
    key = 'events:' .. i
    for n = 1, 4 do redis.call('XADD', key, (1700000000000 + n) .. '-' .. n, 'kind', 'click', 'at', dice(1000)) end
    redis.call('XGROUP', 'CREATE', key, 'readers', '0')
    redis.call('XREADGROUP', 'GROUP', 'readers', 'alice', 'COUNT', 2, 'STREAMS', key, '>')
    redis.call('XACK', key, 'readers', '1700000000001-1')
  else
    key = 'counter:' .. i
    redis.call('SET', key, dice(1000000))
  end
  if i % 5 == 0 then redis.call('PEXPIREAT', key, now + 3600000 + dice(30000) * 1000003) end
end
return count
