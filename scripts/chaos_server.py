"""The server under test: its start, its end, and what the system says about it."""

import os
import re
import resource
import select
import signal
import subprocess
import tempfile
import time

START = 60.0
TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A server process that prints its address first, and its counters when its standard input ends."""

    def __init__(self, command):
        self.stderr = tempfile.NamedTemporaryFile(prefix="chaos-", suffix=".stderr", mode="ab")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr, bufsize=0)
        self.pid = self.process.pid
        try:
            self.is_over_tls, self.address = self._address()
        except BaseException:
            self.process.kill()
            raise

    def _address(self):
        line = b""
        if select.select([self.process.stdout], [], [], START)[0]:
            line = self.process.stdout.readline()
        at_path = re.fullmatch(rb"listening on unix:(.+)\n", line)
        if at_path:
            return False, os.fsdecode(at_path[1])
        found = re.fullmatch(rb"listening on (tcp|tls):\[?(.*?)\]?:(\d+)\n", line)
        if not found:
            raise SystemExit(f"no address from the server: {line!r} {self.reports()}")
        return found[1] == b"tls", (found[2].decode(), int(found[3]))

    def is_running(self):
        return self.process.poll() is None

    def reports(self):
        """The lines on its standard error so far."""
        with open(self.stderr.name, "rb") as file:
            return file.read().decode(errors="replace").splitlines()

    def stop(self, patience):
        """Its counters at the end, and its exit code."""
        try:
            text, _ = self.process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return {}, "it does not end"
        counters = {name.decode(): int(value) for name, value in re.findall(rb"(\w+)=(\d+)", text)}
        return counters, self.process.returncode

    def _read(self, name):
        with open(f"/proc/{self.pid}/{name}", encoding="ascii", errors="replace") as file:
            return file.read()

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def first_free_fd(self):
        """One more than the highest descriptor."""
        return max(int(fd) for fd in os.listdir(f"/proc/{self.pid}/fd")) + 1

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def cpu(self):
        """Seconds of processor time used so far."""
        fields = self._read("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def _memory(self, field):
        return int(re.search(rf"{field}:\s+(\d+) kB", self._read("status"))[1]) / 1024

    def rss(self):
        """MiB in memory now."""
        return self._memory("VmRSS")

    def peak(self):
        """MiB in memory at most since `forget_peak`."""
        return self._memory("VmHWM")

    def forget_peak(self):
        with open(f"/proc/{self.pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")

    def limit_fds(self, count):
        """Sets the limit on a running server; the old limits."""
        hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)[1]
        return resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (count, hard))

    def restore_fds(self, limits):
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, limits)

    def freeze(self, seconds):
        """Stops it for a moment: system calls that wait are interrupted."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(self.pid, signal.SIGCONT)
