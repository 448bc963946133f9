# Runs a program in a terminal of its own: terminal.py STEPS PROGRAM ARGS...
# STEPS is JSON: pairs of a text to wait for and a text to type then, or an object of such "steps" and an "env".
# Prints what the program has shown, and exits with its code.
import json
import os
import pty
import signal
import sys

steps = json.loads(sys.argv[1])
if isinstance(steps, dict):
    os.environ.update(steps["env"])
    steps = steps["steps"]
else:
    os.environ.pop("NO_COLOR", None)

# A program that hangs is not waited for.
signal.alarm(50)

pid, terminal = pty.fork()
if pid == 0:
    # Whoever has started the tests may ignore what a terminal is used to send.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.execv(sys.argv[2], sys.argv[2:])

shown = b""
seen = 0
while True:
    try:
        data = os.read(terminal, 65536)
    except OSError:
        break
    if not data:
        break
    shown += data
    while steps:
        at = shown.find(steps[0][0].encode(), seen)
        if at < 0:
            break
        seen = at + len(steps[0][0])
        os.write(terminal, steps.pop(0)[1].encode())

_, status = os.waitpid(pid, 0)
sys.stdout.buffer.write(shown)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(status))
