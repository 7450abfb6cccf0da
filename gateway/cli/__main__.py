"""``python -m gateway.cli`` runs the command ``hadir``."""

from gateway.cli import main

if __name__ == "__main__":
    main()
