-- wrk's side of bench/pool.py: posts the pool's records one after the other, each request with a uuid of its own.
-- Arguments, after `--`: the file with the records, and the number (decimal) with which the uuids of this run begin.

local records, position, lap, start = {}, 0, 0, ""

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  while true do
    local length = file:read("*n")
    if length == nil then break end
    file:read(1)
    records[#records + 1] = file:read(length)
  end
  file:close()
  lap = tonumber(arguments[2])
  begin_lap()
end

function begin_lap()
  start = string.format("POST %s HTTP/1.1\r\nhost: %s:%s\r\ndyte-uuid: %08x", wrk.path, wrk.host, wrk.port, lap)
end

function request()
  position = position + 1
  if position > #records then
    position, lap = 1, lap + 1
    begin_lap()
  end
  return start .. records[position]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
