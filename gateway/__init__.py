"""The gateway: from terminals to the broker, through a durable ledger."""
