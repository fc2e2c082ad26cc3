"""The data plane: `/app/<plugin>/<action>` from the client's socket to the plugin's and back, before any web framework.

protocol    guard and dispatch, inside uvicorn's protocol class; ending: how a client's connection ends
request     a head read once, a body on its way        answer     a head of our making, a body framed anew
exchange    one request between the two: waiting, streaming, deadlines (flow: back-pressure)        admission  whether it may go on
upstream    the pool of connections to an instance     connection  one of them, over a socket or (inprocess) a pipe
websocket   a request for one: handshake  what is offered and agreed, tunnel  two connections joined, frames  what passes
calls  requests by which plugins call each other        chains  which one belongs to which
cookies, locations  what of an answer is bound to its plugin's part of the origin
way         what is kept per plugin     plane  what all share     limits  bulkheads     target, headers  pure rules
"""
