"""SMTP clients without a queue, each a worker in a process of its own that sends ready messages and counts its own CPU.

All of them take the same settings: port, octets, sessions (connections at the same time), and tag; kept (connections are kept,
else a connection a message), tls (STARTTLS, any certificate).  The order "send" answers when the last message was accepted.
What is not timed: imports, the making of messages, and the connections that are kept.
"""
