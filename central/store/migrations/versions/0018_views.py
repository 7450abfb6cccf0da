"""Views with their present definitions: databases on a server had those of the program that made them."""

from central.store.migrations import views

revision = "0018"
down_revision = "0016"


def upgrade() -> None:
    """Make the views anew."""
    views.recreate()
