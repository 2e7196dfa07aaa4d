"""The scrubber that one would write with Faust (faust-streaming): an agent, phonenumbers, a roaring bitmap, exactly_once.

Run as `python app.py BOOTSTRAP PROSPECTS ALLOWED BLOCKED GROUP REGISTER`; REGISTER is a file of little-endian u64.
SIGTERM ends it with code 0. A value that is no JSON object ends it with an error.
"""

import asyncio
import logging
import signal
import sys
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any

import faust
import phonenumbers
import uvloop
from pyroaring import BitMap64

# About as many records a transaction as the worker's 10,000: Faust manages some 4,000/s.
COMMIT_S = 1.0
_STOP_S = 20.0
_IDLE_S = 0.5


def register(file: str) -> BitMap64:
    """The opposed numbers."""
    numbers = array("Q")
    numbers.frombytes(Path(file).read_bytes())
    return BitMap64(numbers)


def make_app(bootstrap: str, group: str) -> faust.App:
    """Tuned for throughput; nothing is kept on disk, nothing is served."""
    return faust.App(
        group,
        broker=f"kafka://{bootstrap}",
        processing_guarantee="exactly_once",
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        store="memory://",
        web_enabled=False,
        broker_commit_interval=COMMIT_S,
        broker_commit_every=1_000_000,
        broker_max_poll_records=5_000,
        consumer_max_fetch_size=2 * 1024 * 1024,
        stream_buffer_maxsize=16_384,
        stream_wait_empty=False,
        producer_compression_type="lz4",
        producer_linger=0.05,
        producer_max_batch_size=512 * 1024,
    )


def judge(prospect: dict[str, Any], opposed: BitMap64) -> bool:
    """Adds the verdict; whether it is blocked."""
    try:
        parsed = phonenumbers.parse(prospect["phone"], "FR")
        number = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
        hit = int(number) in opposed
        verdict, reason = ("blocked", "opposed") if hit else ("allowed", "clear")
    except (phonenumbers.NumberParseException, KeyError, TypeError):
        number, verdict, reason = None, "blocked", "invalid-number"
    prospect["scrub"] = {"verdict": verdict, "reason": reason, "number": number}
    return verdict == "blocked"


async def run(bootstrap: str, prospects: str, allowed: str, blocked: str, group: str, file: str) -> None:
    """Until SIGTERM."""
    opposed = register(file)
    app = make_app(bootstrap, group)
    raw = {"key_type": bytes, "key_serializer": "raw", "value_serializer": "json"}
    source, clear, denied = (app.topic(topic, **raw) for topic in (prospects, allowed, blocked))
    stopping, left = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)

    @app.agent(source)
    async def scrub(stream: faust.Stream) -> None:
        async for event in stream.events():
            topic = denied if judge(event.value, opposed) else clear
            # Faust has a transaction for each partition number and takes the one of the output's partition: only with
            # the input's own are a record and its input offset in the same transaction.
            await topic.send(
                key=event.key,
                value=event.value,
                partition=event.message.partition,
                timestamp=event.message.timestamp,
            )
            if stopping.is_set():
                break  # between two records: one that is cancelled counts as done
        left.set()

    await app.start()
    await stopping.wait()
    with suppress(TimeoutError):  # then there is nothing to do
        await asyncio.wait_for(left.wait(), _IDLE_S)
    await asyncio.wait_for(app.stop(), _STOP_S)


def main() -> None:
    """On uvloop, which suits Faust best."""
    logging.basicConfig(level=logging.WARNING)
    uvloop.run(run(*sys.argv[1:]))


if __name__ == "__main__":
    main()
