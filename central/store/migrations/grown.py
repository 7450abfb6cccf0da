"""Tables that only grow: the database refuses every other change, whoever makes it."""

from alembic import op

from central.store.portable import is_postgresql


def only_grows(table: str, message: str, *, unless: str = "") -> None:
    """Create triggers that refuse changes of a chained table with ``message``; ``unless`` lets a deletion be.

    ``unless`` is a condition on OLD that a row may be deleted under. A row is added behind the last one only, with its
    digest: INSERT OR REPLACE deletes without the trigger of DELETE.
    """
    refuse_deletion(table, message, unless=unless)
    follows = (
        f"NEW.id {{differs}} coalesce((SELECT max(id) FROM {table}), 0) + 1 "  # noqa: S608 - our own words
        f"OR NEW.previous {{differs}} coalesce((SELECT digest FROM {table} ORDER BY id DESC LIMIT 1), '')"
    )
    connection = op.get_bind()
    if not is_postgresql(connection):
        refusal = f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        connection.exec_driver_sql(f"CREATE TRIGGER {table}_update BEFORE UPDATE ON {table} {refusal}")
        connection.exec_driver_sql(
            f"CREATE TRIGGER {table}_insert BEFORE INSERT ON {table} WHEN {follows.format(differs='IS NOT')} {refusal}"
        )
        return
    for change, each in (("UPDATE", "ROW"), ("TRUNCATE", "STATEMENT")):
        connection.exec_driver_sql(
            f"CREATE TRIGGER {table}_{change.lower()} BEFORE {change} ON {table} "
            f"FOR EACH {each} EXECUTE FUNCTION {table}_grows()"
        )
    connection.exec_driver_sql(
        f"CREATE FUNCTION {table}_follows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF {follows.format(differs='IS DISTINCT FROM')} THEN "
        f"RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation'; END IF; RETURN NEW; END $$"
    )
    connection.exec_driver_sql(
        f"CREATE TRIGGER {table}_insert BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_follows()"
    )


def refuse_deletion(table: str, message: str, *, unless: str = "") -> None:
    """Create the trigger of DELETE, or put another one in its place."""
    connection = op.get_bind()
    if not is_postgresql(connection):
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {table}_delete")
        when = f"WHEN NOT ({unless}) " if unless else ""
        connection.exec_driver_sql(
            f"CREATE TRIGGER {table}_delete BEFORE DELETE ON {table} {when}BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
        return
    allowed = f"IF TG_OP = 'DELETE' THEN IF {unless} THEN RETURN OLD; END IF; END IF; " if unless else ""
    connection.exec_driver_sql(
        f"CREATE OR REPLACE FUNCTION {table}_grows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {allowed}"
        f"RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {table}_delete ON {table}")
    connection.exec_driver_sql(
        f"CREATE TRIGGER {table}_delete BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_grows()"
    )
