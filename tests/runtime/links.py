"""Connections between two nodes on this machine, all of whose traffic a test can cut and restore."""

import os
import re
import socket
import subprocess
import threading

from warm_commands import python

NODE = """
import ctypes, os, sys
namespace = sys.argv.pop(1)
if namespace:
    failed = ctypes.CDLL(None).setns(os.open("/run/netns/" + namespace, os.O_RDONLY), 0)
    assert not failed
process = os.fork()  # whatever ends it, its status is told
if process:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
from ecg_signals.cli.train import main
main()
"""
GLOO_ADDRESS = re.compile(rb"\x02\x00(..)\x7f\x00\x00\x01", re.DOTALL)  # AF_INET, port, 127.0.0.1


class Relay:
    """What one node sends to the other passes here: to the store where they meet, and from rank to rank.

    Ranks tell each other through the store on which port they listen; on its way such a port becomes one of the relay.
    Of two ranks the one whose port is higher connects (gloo compares its lower byte first), so rank 0 sees rank 1's
    above all others and rank 1 rank 0's below them. While the relay is cut, nothing passes, and nothing is closed.
    """

    interface = "lo"

    def __init__(self):
        self.passing = threading.Event()
        self.passing.set()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.listeners, self.relayed, self.ports = [], 0, {}  # a rank's port -> the relay's in its place, and back
        self.own_port = self.listen(0, self.port, to_store=True)

    def listen(self, port, target, to_store=False):
        listener = socket.create_server(("127.0.0.1", port))
        self.listeners.append(listener)
        threading.Thread(target=self.accept, args=(listener, target, to_store), daemon=True).start()
        return listener.getsockname()[1]

    def behind(self, port, upwards):
        """The relay's port in place of a rank's."""
        for own in range(0xEEFF, 0x10000, 0x100) if upwards else range(0x4F00, 0x8000, 0x100):
            try:
                self.ports[port] = self.listen(own, port)
                self.ports[own] = port
                return
            except OSError:
                continue
        raise AssertionError("no port is free")

    def accept(self, listener, port, to_store):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return  # closed
            self.passing.wait()
            try:
                far = socket.create_connection(("127.0.0.1", port))
            except OSError:  # the other node has not come yet
                near.close()
                continue
            for source, sink, upwards in ((near, far, True), (far, near, False)):
                threading.Thread(target=self.pump, args=(source, sink, upwards, to_store), daemon=True).start()

    def pump(self, source, sink, upwards, to_store):
        try:
            while content := source.recv(65536):
                self.passing.wait()
                if to_store:
                    content = GLOO_ADDRESS.sub(lambda found: self.translated(found, upwards), content)
                else:
                    self.relayed += len(content)
                sink.sendall(content)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def translated(self, found, upwards):
        port = int.from_bytes(found[1], "big")
        if port not in self.ports:
            self.behind(port, upwards)
        return b"\x02\x00" + self.ports[port].to_bytes(2, "big") + b"\x7f\x00\x00\x01"

    def meeting(self, rank):
        return f"tcp://127.0.0.1:{self.own_port if rank else self.port}"

    def program(self, rank):
        return [python(), "-c", NODE, ""]

    def cut(self):
        self.passing.clear()

    def restore(self):
        self.passing.set()

    def close(self):
        self.restore()
        for listener in self.listeners:
            listener.close()


class Cable:
    """Two network namespaces with a cable between them. Raises: OSError where the system does not allow that."""

    interface = "cable"

    def __init__(self):
        self.names = [f"ecg{os.getpid()}_{rank}" for rank in range(2)]
        try:
            for name in self.names:
                ip("netns", "add", name)
            ends = [("name", self.interface, "netns", name) for name in self.names]
            ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
            for rank, name in enumerate(self.names):
                ip("-n", name, "address", "add", f"10.0.0.{rank + 1}/24", "dev", self.interface)
                ip("-n", name, "link", "set", self.interface, "up")
                ip("-n", name, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            self.close()
            raise OSError(getattr(error, "stderr", None) or str(error)) from None

    def meeting(self, rank):
        return "tcp://10.0.0.1:29500"

    def program(self, rank):
        return [python(), "-c", NODE, self.names[rank]]

    def cut(self):
        ip("-n", self.names[1], "link", "set", self.interface, "down")

    def restore(self):
        ip("-n", self.names[1], "link", "set", self.interface, "up")

    def close(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
