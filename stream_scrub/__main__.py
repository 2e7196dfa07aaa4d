"""`python -m stream_scrub`: the same as the console script."""

from stream_scrub.run.cli import main

main()
