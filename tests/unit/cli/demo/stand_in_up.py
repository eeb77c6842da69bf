"""Stands in for `morningai up --json`: says that it is ready, and leaves a file when it was stopped in time.

python stand_in_up.py FOLDER GATEWAY ready|failed|silent|garbage
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path


def stop(number: int, frame: object) -> None:
    (folder / "stopped").touch()
    sys.exit(0)


folder, gateway, behaviour = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
signal.signal(signal.SIGTERM, stop)
(folder / "operator.key").write_text("op_test.secret\n")
(folder / "started").touch()
if behaviour == "failed":
    print(json.dumps({"event": "failed", "message": "No room.", "remedy": "Make some."}), flush=True)
    sys.exit(1)
if behaviour == "silent":
    print("it broke", file=sys.stderr)
    sys.exit(7)
if behaviour == "garbage":
    print("not JSON", flush=True)
ready = {
    "event": "ready",
    "gateway": gateway,
    "operator_key_file": str(folder / "operator.key"),
    "engine": "llama.cpp",
    "seconds": 0.1,
}
print(json.dumps(ready), flush=True)
time.sleep(120)
