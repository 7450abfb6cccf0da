"""``python -m gateway.cli`` is the command ``hadir``."""

from gateway.cli import main

if __name__ == "__main__":
    main()
