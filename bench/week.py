"""The size of a partition's local state over three simulated weeks of steady traffic, with the purge at work.

No broker: batches are applied and old entries purged as the loop does it, with the time as an argument. What is printed
a day are the messages really there, the bytes on disk, and the time that purging took of the loop's.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import Final

from processor.identity import identity_of
from processor.model import MessageState
from processor.purge import Purge
from processor.state_codec import encode_state
from processor.store import StatePartition, StoreIdentity

_DAY_MS: Final = 24 * 3600 * 1000
_STEP_MS: Final = 60_000
_START_MS: Final = 1_767_225_600_000


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-day", type=int, default=200_000, help="new messages a day in this partition")
    parser.add_argument("--days", type=int, default=21)
    parser.add_argument("--keep-days", type=int, default=7, help="how long an entry is kept")
    options = parser.parse_args()
    print(f"{options.per_day:,} new messages a day, two changes each, kept for {options.keep_days} days")
    print(f"{'day':>4}{'messages':>14}{'disk':>12}{'purged':>12}{'purge':>12}")
    with tempfile.TemporaryDirectory() as directory:
        run(Path(directory) / "store", options.per_day, options.days, options.keep_days * _DAY_MS)


def run(directory: Path, per_day: int, days: int, keep_ms: int) -> None:
    """Live through so many days, a minute at a time."""
    store = StatePartition(directory, StoreIdentity("bench", "state", "bench", 0, 1), 1000)
    purge = Purge(keep_ms)
    draw = random.Random(1)
    each = per_day * _STEP_MS // _DAY_MS
    waiting: list[str] = []
    for day in range(1, days + 1):
        spent = 0.0
        for minute in range(_DAY_MS // _STEP_MS):
            now = _START_MS + (day - 1) * _DAY_MS + minute * _STEP_MS
            new = [identity_of(None, "twilio", f"SM{draw.getrandbits(128):032x}", "") for _ in range(each)]
            for sequence, identities in ((2, waiting), (1, new)):
                state = encode_state(MessageState(10 + sequence, sequence, now))
                store.apply([(identity.encode(), state) for identity in identities], store.offset + each, now)
            waiting = new
            began = time.perf_counter()
            # The loop asks every second; a minute at once does the work of sixty of its steps.
            purge.step([store], now)
            spent += time.perf_counter() - began
        disk = sum(file.stat().st_size for file in directory.iterdir())
        print(
            f"{day:>4}{store.count():>14,}{disk / 2**20:>8.1f} MiB{purge.removed:>12,}{spent * 1000:>9.0f} ms",
            flush=True,
        )
    store.close()


if __name__ == "__main__":
    main()
