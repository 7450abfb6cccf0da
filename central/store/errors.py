"""What the database makes fail, for a person."""


class StoreError(Exception):
    """The database cannot be used; the message says which, why, and what to do."""


class StoreConflict(StoreError):  # noqa: N818 - named by what is the matter
    """Another transaction has changed what this one would change; nothing of this one is stored."""


class StoreStalled(StoreConflict):
    """The process stood still within its transaction, until the database undid that; it can be done again."""


class StoreLocked(StoreError):  # noqa: N818 - named by what is the matter
    """Another inbox writes into the database."""
