"""The status page: how the gateway and its terminals are, for a browser, for monitoring, and for nobody's orders.

It reads and shows; there is nothing on it that could change anything. What it knows comes from the daemon's own status
and from read-only connections to the ledger of its own, which hold up no writer, and it shows no PIN but the last two
characters. Without ``web`` in the configuration none of this is imported.

Rooms: ``server`` (the thread, the socket), ``site`` (what answers at which address), ``guard`` (who may ask),
``view`` (what there is to see, and for how long it may be repeated), ``attention`` (what a person should look at; also
for `hadir status`, for which it and ``messages`` are imported without a server),
``chart`` (a day as a drawing), ``metrics`` (the same for Prometheus), ``messages`` (two languages).
"""
