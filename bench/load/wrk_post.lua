-- wrk script: POST the file BODY with the header lines in HEADERS ("Name: value"); prints one line of JSON.
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/json"
for name, value in string.gmatch(os.getenv("HEADERS") or "", "([^:\n]+):%s*([^\n]*)") do
  wrk.headers[name] = value
end

-- Only responses with a status of 2xx or 3xx count: a server that rejects quickly is not fast.
function done(summary, latency)
  local seconds, errors = summary.duration / 1e6, summary.errors
  local ok = summary.requests - errors.status
  io.write(string.format(
    '\nJSON {"requests":%d,"seconds":%.3f,"rps":%.1f,"p50":%.3f,"p99":%.3f,"errors":%d,"bytes":%.0f}\n',
    ok, seconds, ok / seconds, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    summary.bytes / math.max(1, summary.requests)))
end
