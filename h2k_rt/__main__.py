"""``python -m h2k_rt``: the command line."""

from h2k_rt.cli import main

if __name__ == "__main__":
    main()
