"""Milvus Lite's server in a process of its own, which can be killed and started again."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import closing


class Server:
    """A server at a free port of this machine, with its data in ``folder``."""

    def __init__(self, folder):
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.address, self.process = folder, f"http://127.0.0.1:{self.port}", None

    def start(self):
        words = ["--data-dir", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "milvus_lite", "server", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(300):
            with closing(socket.socket()) as probe:
                if not probe.connect_ex(("127.0.0.1", self.port)):
                    return
            assert self.process.poll() is None
            time.sleep(0.1)
        raise AssertionError("the server does not start")

    def kill(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
