#!/usr/bin/env bash
# Makes the virtual environment of the peers that run.py measures: `setup.sh [VENV]` (default /tmp/loader-venv; 7 GB).
# FFCV has no wheels: it is built from its source package with Debian's OpenCV and libjpeg-turbo. A peer that does not
# install is told at the end, and left out by run.py.
set -euo pipefail
venv=${1:-/tmp/loader-venv}
here=$(cd "$(dirname "$0")" && pwd)

if ! pkg-config --exists opencv4 libturbojpeg 2>/dev/null; then
    apt-get update -qq && apt-get install -y -qq libopencv-dev libturbojpeg0-dev pkg-config g++ ||
        echo "no OpenCV or libjpeg-turbo for FFCV's build" >&2
fi
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install -q -r "$here/requirements.txt"
"$venv/bin/pip" install -q --no-deps --no-build-isolation --no-binary ffcv ffcv==1.0.2 ||
    echo "FFCV was not built" >&2

cd /
for pair in torch:torch torchvision:torchvision PIL:pillow webdataset:webdataset \
    nvidia.dali:nvidia-dali-cuda120 ffcv:ffcv; do
    "$venv/bin/python" -c "
import importlib, importlib.metadata
importlib.import_module('${pair%%:*}')
print('${pair##*:}', importlib.metadata.version('${pair##*:}'))" 2>/dev/null || echo "${pair##*:}: DOES NOT WORK"
done
