"""`python -m pfedge` is `pfedge`."""

from pfedge.cli.app import main

if __name__ == "__main__":
    main()
