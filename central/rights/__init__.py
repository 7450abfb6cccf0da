"""People's rights and the end of keeping: holds, retention, and a person's own data."""
