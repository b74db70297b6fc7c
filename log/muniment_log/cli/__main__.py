"""``python -m muniment_log.cli`` is the command ``muniment-log``."""

from muniment_log.cli import program

if __name__ == "__main__":
    program()
