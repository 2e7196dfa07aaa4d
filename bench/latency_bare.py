"""The bare loop with another batch time: `python -m bench.latency_bare BATCH_MS BOOTSTRAP INPUT OUTPUT GROUP`."""

import sys

from bench import bare

if __name__ == "__main__":
    bare.BATCH_S = float(sys.argv[1]) / 1000
    bare.main(*sys.argv[2:])
