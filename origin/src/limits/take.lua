-- Decides about a request and counts it, in one step, by the server's clock. The same rules as kado-shared's `limits`;
-- a property test compares the two.
--
-- KEYS[1]  the counter
-- ARGV     mode, quota, window in ms, units wanted, and for tests the time in Unix ms
-- answers  units granted, 1 if any, how many more would be admitted now, ms until one more is
local key, mode = KEYS[1], ARGV[1]
local quota, window, wanted = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
local now = tonumber(ARGV[5]) or clock
-- A counter is kept until it no longer matters, by the clock that expires it.
local function keep_until(moment)
    redis.call('PEXPIRE', key, string.format('%.0f', math.max(moment - now, 1)))
end

if mode == 'strict' then
    local last = tonumber(redis.call('LINDEX', key, -1) or nil)
    -- A clock that went back must not let anyone in early.
    if last and last > now then now = last end
    local oldest = tonumber(redis.call('LINDEX', key, 0) or nil)
    while oldest and oldest + window <= now do
        redis.call('LPOP', key)
        oldest = tonumber(redis.call('LINDEX', key, 0) or nil)
    end
    local length = redis.call('LLEN', key)
    local granted = 0
    if length < quota then
        redis.call('RPUSH', key, string.format('%.0f', now))
        length, granted, last = length + 1, 1, now
    end
    if length > 0 then keep_until(last + window) end
    local reset = 0
    local frees = tonumber(redis.call('LINDEX', key, math.max(length - quota, 0)) or nil)
    if frees then reset = math.max(frees + window - now, 0) end
    return {granted, granted, math.max(quota - length, 0), reset}
end

-- GCRA, in microseconds: all numbers stay below 2^53, where doubles are exact.
local now_us = now * 1000
local interval = math.max(math.ceil(window * 1000 / quota), 1)
local burst = interval * quota
local tat = tonumber(redis.call('GET', key) or 0)
tat = math.min(math.max(tat, now_us), now_us + burst)
local granted = math.min(math.floor((now_us + burst - tat) / interval), wanted)
tat = tat + interval * granted
if tat > now_us then
    redis.call('SET', key, string.format('%.0f', tat))
    keep_until(math.ceil(tat / 1000))
end
local free = now_us + burst - tat
local reset = 0
if tat > now_us then reset = interval - free % interval end
return {granted, math.min(granted, 1), math.floor(free / interval), math.ceil(reset / 1000)}
