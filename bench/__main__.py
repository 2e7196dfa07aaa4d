"""`make bench`, `python -m bench`: the bench of throughput."""

import sys

from bench.throughput.run import main

if __name__ == "__main__":
    sys.exit(main())
