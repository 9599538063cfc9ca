"""WSX: typed RPC messages over WebSocket, NATS or memory.

Nothing is imported from here: `wsx.tytx` holds typed values, `wsx.messages` and `wsx.codec` the messages,
`wsx.kinds` what they are, `wsx.errors` what can be wrong with them.
"""
