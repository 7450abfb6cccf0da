"""Driver of apps that post: an attendance app, or another vendor's hub, sends JSON to the receiver.

``wire`` is the format: signature, JSON, records. ``terminal`` is the driver, ``simulator`` an app with faults.
"""
