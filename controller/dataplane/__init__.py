"""The data plane: `/app/<plugin>/<action>` from the client's socket to the plugin's and back, before any web framework.

protocol  guard and dispatch, inside uvicorn's protocol class
exchange  one request: admission, waiting, streaming both ways, deadlines
upstream  connections to sandboxes, pooled per instance        inprocess  the same for a trusted plugin
plane     what all exchanges share        limits  bulkheads        target, headers  pure rules
"""
