# Writes records as most Python programs log: a WatchedFileHandler looks before
# each record whether its file is still the one of that name, and reopens it.
import json
import logging
import logging.handlers
import os
import sys
import time

env = os.environ
calls = failed = 0
first = ""
longest = 0.0


class Handler(logging.handlers.WatchedFileHandler):
    error = None

    def handleError(self, record):
        self.error = sys.exc_info()[1]


def open_handler():
    return Handler(env["W_PATH"], delay=True)


handler = open_handler()
notes = open(env["W_NOTES"], "a", buffering=1)
number = 0
parent = os.getppid()
while not os.path.exists(env["W_STOP"]) and os.getppid() == parent:
    length = number % len(env["W_FILLER"])
    line = "%s %d %d %s." % (env["W_ID"], number, length, env["W_FILLER"][:length])
    handler.error = None
    start = time.monotonic()
    try:
        handler.handle(logging.LogRecord("test", logging.INFO, "", 0, line, None, None))
    except OSError as error:  # its stat of the name is not guarded
        handler.error = error
    longest = max(longest, time.monotonic() - start)
    calls += 1
    if handler.error is None:
        notes.write("a %d\n" % number)
    else:
        notes.write("f %d %s\n" % (number, str(handler.error).replace("\n", " ")))
        failed += 1
        first = first or str(handler.error)
        # Its stream may be closed for good; a new one is what a restart of
        # the program would bring.
        handler = open_handler()
    number += 1
    time.sleep(float(env["W_EVERY"]))

with open(env["W_REPORT"], "w") as report:
    json.dump(
        {"Calls": calls, "Failed": failed, "Longest": int(longest * 1e9), "LongestCall": "emit", "FirstError": first},
        report,
    )
