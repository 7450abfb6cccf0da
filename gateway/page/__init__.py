"""The status page: the state of the gateway and its terminals, for browsers and for monitoring. It is read-only.

Its data comes from the daemon's status and from read-only connections to the ledger, which block no writer. Of a PIN it
shows the last two characters only. Without ``web`` in the configuration none of this is imported.

Modules: ``server`` (thread and socket), ``site`` (routes), ``guard`` (access control), ``view`` (data and its caching),
``attention`` (items that need a person's attention; `hadir status` imports it and ``messages`` without a server),
``chart`` (drawing of a day), ``metrics`` (Prometheus), ``messages`` (texts in two languages).
"""
