"""Where the bench keeps what: sources of the peers, what is built from them, results."""

from pathlib import Path

BENCH = Path(__file__).parents[1].resolve()
ROOT = BENCH.parent
PEERS = BENCH / "peers"
CACHE = BENCH / ".cache"
RESULTS = BENCH / "results"
BARE_LOOP = BENCH / "throughput" / "bare_loop.py"
