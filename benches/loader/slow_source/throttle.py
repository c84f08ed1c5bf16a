"""Runs a command whose reads are as slow as a given card's, and whose data are never in the page cache.

    sudo python3 throttle.py --mb-per-s 94 --iops 1500 --cold DATA -- COMMAND ARGUMENTS     # an SD card
    sudo python3 throttle.py --mb-per-s 10 --cold DATA -- COMMAND                           # a slow one
    python3 throttle.py --evict DATA                                                        # drops DATA from the cache

The limit is one of the kernel's block layer, for a control group of the command alone: `blkio.throttle` (cgroup v1) or
`io.max` (cgroup v2). It needs root, and holds for the disk that DATA (the first of them) lies on. It counts what
reaches the disk: so DATA must not be in the page cache. `--cold` drops it before the command, and again and again while it
runs (`--every`, default 0.1 s), as if the data were far larger than memory. That needs no root, and touches no other file:
posix_fadvise(DONTNEED), not drop_caches. It cannot drop pages that a process has mapped.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import threading
import time

V1 = pathlib.Path("/sys/fs/cgroup/blkio")
V2 = pathlib.Path("/sys/fs/cgroup")


def files_below(paths):
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            yield from (child for child in path.rglob("*") if child.is_file())
        else:
            yield path


def evict(paths):
    """Drops clean pages of all files at or below the paths; what was just written must have been synced."""
    for path in files_below(paths):
        file = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


class Cold:
    """Keeps the files out of the page cache, in a thread, while it is entered."""

    def __init__(self, paths, every=0.1):
        self.paths, self.every = list(files_below(paths)), every
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def work(self):
        while not self.ended.wait(self.every):
            evict(self.paths)

    def __enter__(self):
        evict(self.paths)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def disk_of(path):
    """The number "major:minor" of the whole disk below a path's file system."""
    number = os.stat(path).st_dev
    name = f"{os.major(number)}:{os.minor(number)}"
    block = pathlib.Path(f"/sys/dev/block/{name}")
    if not block.exists():
        raise RuntimeError(f"{path} is on no block device of its own ({name}): copy it to a plain ext4")
    if (block / "partition").exists():
        name = (block.resolve().parent / "dev").read_text().strip()
    return name


class Throttle:
    """A control group with a limit; processes are added to it, and their children follow."""

    def __init__(self, path, bytes_per_s=None, iops=None):
        disk = disk_of(path)
        v1 = (V1 / "blkio.throttle.read_bps_device").exists()
        self.folder = (V1 if v1 else V2) / f"footplate-slow-{os.getpid()}"
        if not v1:
            if "io" not in (V2 / "cgroup.controllers").read_text().split():
                raise RuntimeError("neither cgroup v1's blkio nor cgroup v2's io controller is here")
            (V2 / "cgroup.subtree_control").write_text("+io")
        self.folder.mkdir()
        if v1:
            if bytes_per_s:
                (self.folder / "blkio.throttle.read_bps_device").write_text(f"{disk} {int(bytes_per_s)}")
            if iops:
                (self.folder / "blkio.throttle.read_iops_device").write_text(f"{disk} {int(iops)}")
        else:
            limits = [f"rbps={int(bytes_per_s)}"] if bytes_per_s else []
            limits += [f"riops={int(iops)}"] if iops else []
            (self.folder / "io.max").write_text(" ".join([disk, *limits]))

    def add(self, pid):
        (self.folder / "cgroup.procs").write_text(str(pid))

    def enter(self):
        """For Popen's preexec_fn: the child adds itself before it becomes the command."""
        (self.folder / "cgroup.procs").write_text("0")

    def close(self):
        # A group can go when its last process has: that may take a moment.
        for _ in range(50):
            try:
                return self.folder.rmdir()
            except OSError:
                time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb-per-s", type=float, help="10^6 bytes a second")
    parser.add_argument("--iops", type=int, help="reads a second")
    parser.add_argument("--cold", action="append", default=[], metavar="DATA", help="a file or folder; repeatable")
    parser.add_argument("--every", type=float, default=0.1, help="seconds between two droppings")
    parser.add_argument("--evict", action="append", default=[], metavar="DATA", help="only drop it, run nothing")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.evict:
        return evict(options.evict)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command or not options.cold:
        parser.error("--cold DATA and a command are needed")
    limited = options.mb_per_s or options.iops
    throttle = Throttle(options.cold[0], (options.mb_per_s or 0) * 1e6, options.iops) if limited else None
    try:
        with Cold(options.cold, options.every):
            return subprocess.call(command, preexec_fn=throttle.enter if throttle else None)
    finally:
        if throttle:
            throttle.close()


if __name__ == "__main__":
    sys.exit(main())
