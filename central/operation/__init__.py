"""Running a centre on a machine: its first settings, what is in the way, copies and their return."""
