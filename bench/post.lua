-- wrk -s post.lua URL -- BODY: every request posts BODY as JSON.
function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.body = args[1]
end
