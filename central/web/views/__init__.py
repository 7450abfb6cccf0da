"""What the pages show, as typed data: pure functions of verdicts, registers and a moment."""
