"""What one process, or one transaction, does at a time on a server; in a file nothing needs it.

Numbers of advisory locks, beside those of :mod:`central.store.postgresql`.
"""

RESULTS = 20
"""A transaction stores verdicts and their messages: their numbers then grow in the order in which they can be read."""
PUBLISHING = 21
"""A process publishes what waits in the outbox."""
