"""`demo`: the whole system on the embedded broker, and a checker beside it that knows what is true.

The worker, the follower, the imports and the log are the real ones; only the broker is librdkafka's own mock, and the
lead producer and the dialler are played here. All in one process: the worker's thread, the follower's, the sender's
and the checker's share it, and this one draws.
"""

import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np

from stream_scrub.config import Settings, load
from stream_scrub.errors import ConfigError
from stream_scrub.kafka.embedded import EmbeddedKafka
from stream_scrub.kafka.plain import PlainProducer, PlainReader
from stream_scrub.model import Verdict
from stream_scrub.run import demo_end, logs, wiring
from stream_scrub.run.counters import Counters
from stream_scrub.run.demo_check import Checker, Ledger, Truth
from stream_scrub.run.demo_data import Crowd
from stream_scrub.run.demo_leads import Casting
from stream_scrub.run.demo_lists import Lists
from stream_scrub.run.demo_play import LastLines, Play
from stream_scrub.run.demo_view import Show, show_for
