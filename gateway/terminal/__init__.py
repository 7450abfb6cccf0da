"""One terminal: its visits, what they read, its clock and its outages; and the pool of all terminals' workers."""
