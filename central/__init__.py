"""The reference centre: what a central system needs to receive from gateways, written from the contract alone.

It knows the gateways only by the contract (``docs/contract.md``) and imports nothing of theirs. ``event`` reads
messages and computes identities and digests, ``coverage`` knows which sequences of a stream are held, ``store`` keeps
everything in one database, ``inbox`` is the MQTT client that stores, then acknowledges, then writes receipts,
``report`` reads what is there. Who builds another centre may run this one beside it, read its tables, or copy it. For
people: ``docs/centre.md``.
"""
