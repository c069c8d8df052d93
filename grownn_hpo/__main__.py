"""`python -m grownn_hpo`: the same as `grownn`."""

from grownn_hpo.cli import main

if __name__ == "__main__":
    main()
