"""The receiver: one listener of the process for terminals and apps that call this computer over HTTP.

=============== ====================================================================================================
``http``        The HTTP that terminals speak: bytes to requests, replies to bytes. No I/O.
``registry``    Which serial number or path is served by which handler, and who else called.
``listener``    The sockets, TLS, the limits, and the one thread with the loop that serves every caller.
``caller``      What a driver of terminals that call needs: its options' base class.
=============== ====================================================================================================

A driver attaches a *handler* to the key of its terminal (:attr:`drivers.base.Driver.attach`). The loop calls the
handler with each request of that terminal. Reply at once to what needs no storage. Hand a body that does to the worker,
and let :meth:`drivers.receiver.registry.Exchange.reply` send the answer after the ledger's commit: a terminal that gets
it may forget what it sent.
"""
