"""What holds for every process that runs tests."""

import signal

# A suite that a shell starts in the background ignores SIGINT, and so would each program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
