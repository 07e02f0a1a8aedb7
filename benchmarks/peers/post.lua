-- Makes wrk post one body repeatedly and print its statistics as one line of JSON.

local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = os.getenv("CONTENT_TYPE")
file:close()

function done(summary, latency)
  local errors = summary.errors
  local steps = {}
  for _, percent in ipairs({1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9}) do
    table.insert(steps, string.format("[%g, %d]", percent, latency:percentile(percent)))
  end
  io.write(string.format(
    '{"requests": %d, "duration_us": %d, "percentiles_us": [%s], "errors": %d}\n',
    summary.requests, summary.duration, table.concat(steps, ", "), errors.connect + errors.read
    + errors.write + errors.status + errors.timeout))
end
