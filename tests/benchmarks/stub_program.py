"""A program that speaks the benchmarks' protocol and misbehaves as its arguments say.

``stub_program.py LOG NAME HOW``: every repeat appends NAME to LOG. HOW is ``well``; ``wrong``,
which answers a check with another value than 1; or ``dies``, in its second repeat.
"""

import json
import sys

log, name, how = sys.argv[1:]
repeats = 0


def answer(message):
    print(json.dumps(message), flush=True)


answer({"versions": {"stub": "1"}, "comparable": "same function", "settings": {}})
for line in sys.stdin:
    request = line.strip()
    if request == "end":
        break
    if request == "check":
        answer({"values": [[2.0 if how == "wrong" else 1.0]]})
        continue
    repeats += 1
    if how == "dies" and repeats == 2:
        print("out of ideas", file=sys.stderr)
        sys.exit(3)
    with open(log, "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(f"{name}\n")
    answer({"seconds": 0.5, "cpu_seconds": 0.5, "items": 100, "peak_bytes": 1 << 20})
