"""``python -m flower_coded``: the command where no script is on the path."""

from flower_coded.cli import app

if __name__ == "__main__":
    app()
