"""Lanes: several inboxes share the sites of one centre, on any number of machines, with PostgreSQL.

A lane is a fixed MQTT client id with its session in the broker, and the sites that a hash gives it. Whoever holds the
lane's lock in the database connects under that id. ``assignment``, ``share_out``, ``moves`` and ``states`` decide and
do no I/O; ``lease`` holds locks; ``sites`` is the share of an inbox; ``worker`` is the process.
"""
