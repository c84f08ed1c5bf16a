#!/usr/bin/env bash
# How fast a disk reads one after the other, cold: `disk.sh FOLDER` writes 1 GiB there, reads it in several ways, removes it.
set -euo pipefail
file=${1:?a folder on the disk}/footplate-disk-test
here=$(cd "$(dirname "$0")" && pwd)
trap 'rm -f "$file"' EXIT
dd if=/dev/urandom of="$file" bs=1M count=1024 conv=fsync status=none
for _ in 1 2 3; do
    python3 "$here/throttle.py" --evict "$file"
    echo "dd, bs=1M, through the cache:  $(dd if="$file" of=/dev/null bs=1M 2>&1 | tail -1)"
done
echo "dd, bs=1M, O_DIRECT:           $(dd if="$file" of=/dev/null bs=1M iflag=direct 2>&1 | tail -1)"
if command -v fio >/dev/null; then
    for depth in 1 8 32; do
        echo "fio, 1 MiB, io_uring, depth $depth: $(fio --name=r --filename="$file" --rw=read --bs=1M --direct=1 \
            --ioengine=io_uring --iodepth=$depth --runtime=4 --time_based | grep -o 'READ: bw=[^,]*')"
    done
fi
