"""Receives messages from the broker: store them, then acknowledge them, then publish receipts and results.

``receiving`` has the order of work; ``broker`` the client of one connection, ``mailbox`` the queue between its thread
and the inbox, ``receipts`` what gateways get, ``share`` which gateways one client id receives.
"""

from central.inbox.broker import Broker, BrokerUnavailable
from central.inbox.receiving import Inbox
from central.inbox.share import TOPICS

__all__ = ["TOPICS", "Broker", "BrokerUnavailable", "Inbox"]
