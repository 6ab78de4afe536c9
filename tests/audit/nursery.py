"""A process that has imported everything and then forks once per task, so that a test can have hundreds of new ones.

Each message on the socket it inherits is a JSON list, a function of `tasks` and its arguments, with a file descriptor
for the task's standard output. It answers with the process id; when that process ends, with its wait status.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback

import tasks

MESSAGE_BYTES = 1 << 20


def main(control: socket.socket) -> None:
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            control.close()
            os.dup2(descriptors[0], 1)
            os._exit(run(*json.loads(message)))
        os.close(descriptors[0])
        control.send(str(pid).encode())
        control.send(str(os.waitpid(pid, 0)[1]).encode())


def run(task: str, *arguments: object) -> int:
    try:
        getattr(tasks, task)(*arguments)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(socket.socket(fileno=int(sys.argv[1])))
