"""`python -m stream_scrub`: the same as the console script."""

from stream_scrub.cli.app import main

main()
