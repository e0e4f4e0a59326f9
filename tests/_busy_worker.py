"""A worker process that is at work for ten minutes, and a script that waits for two of them."""

from __future__ import annotations

import sys
import threading
import time

from taggram._processes import FileTask, Processes, serve


def wait_for_two() -> None:
    """Start two of these workers, print their process numbers as soon as both are at work, and wait for them."""
    with Processes("_busy_worker", {}, lambda _, message: message, 2) as processes:

        def tell() -> None:
            while not all(worker._ready for worker in processes._workers):
                time.sleep(0.05)
            sys.stdout.write(" ".join(str(worker._process.pid) for worker in processes._workers) + "\n")
            sys.stdout.flush()

        threading.Thread(target=tell, daemon=True).start()
        list(processes.run([FileTask("one"), FileTask("two")]))


if __name__ == "__main__":
    serve(lambda _: lambda *_: time.sleep(600) or {})
