"""Measures footplate's loader and its peers, interleaved, on one folder of images.

    benches/loader/setup.sh                       # once: the peers, in /tmp/loader-venv
    python3 benches/loader/run.py DATA            # all, one core and two: about 20 minutes
    python3 benches/loader/run.py DATA --quick    # the main peers on one core: 2 minutes on an idle machine

The work of all: read (warm page cache), decode, random resized crop to 224 (area 0.08-1, ratio 3/4-4/3), flip,
normalise, float32 NCHW, minibatches of 32. "u8" leaves out the normalisation; README.md tells what else differs.
Each loader is held to the same cores by taskset and has as many workers as cores. The rounds are interleaved: each
loader once for some seconds, then all again; ratios are taken within a round, medians over rounds.
CPU seconds are user and system time of the loader's whole tree of processes.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "slow_source"))
import throttle  # noqa: E402
ROOT = HERE.parents[1]
REFERENCE = "torch-pillow"
QUICK_PEERS = ["torch-pillow", "dali", "ffcv-jpeg", "ffcv-raw"]
ALL_PEERS = ["torch-pillow", "torch-pillow-w0", "torch-decode-jpeg", "webdataset", "dali", "dali-antialias",
             "ffcv-jpeg", "ffcv-jpeg-q90", "ffcv-raw", "ffcv-raw-u8"]
RATIOS = ["torch-pillow", "dali", "ffcv-jpeg", "ffcv-raw"]
OURS = {
    "footplate": "{data}",
    "footplate-f16": "{data} --layout f16",
    "footplate-u8": "{data} --layout u8",
    "footplate-tar": "{files}/tar",
    "footplate-tar-u8": "{files}/tar --layout u8",
}


class Peer:
    """A loader that stays: it loads only when it is told to."""

    def __init__(self, name, cpus, options):
        self.name = name
        command = ["taskset", "-c", cpus, str(options.venv / "bin/python"), str(HERE / "peers.py"), name,
                   "--data", str(options.data), "--files", str(options.files),
                   "--workers", str(len(cpus.split(","))), "--batch", str(options.batch)]
        command += ["--cold"] if options.slow else []
        self.log = open(options.files / f"{name}.log", "w")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        text=True, cwd="/", preexec_fn=options.enter)
        if not self.process.stdout.readline():
            raise RuntimeError(f"{name} did not start; see {self.log.name}")

    def measure(self, seconds):
        self.process.stdin.write(f"go {seconds}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Footplate:
    """Our loader: it starts in no time, so each phase is a run of its own."""

    def __init__(self, name, arguments, cpus, options):
        self.name, self.enter = name, options.enter
        arguments = arguments.format(data=shlex.quote(str(options.data)), files=shlex.quote(str(options.files)))
        self.command = ["taskset", "-c", cpus, str(options.binary), *shlex.split(arguments),
                        "--batch", str(options.batch), "--workers", str(len(cpus.split(",")))]

    def measure(self, seconds):
        output = subprocess.run([*self.command, "--seconds", str(seconds)], stdout=subprocess.PIPE, check=True,
                                preexec_fn=self.enter).stdout
        return json.loads(output)

    def close(self):
        pass


def started(options, cpus):
    """The loaders that start; the others are told."""
    loaders = []
    for name in options.peers:
        try:
            loaders.append(Peer(name, cpus, options))
        except RuntimeError as error:
            print(error, file=sys.stderr)
    loaders += [Footplate(name, arguments, cpus, options) for name, arguments in options.footplate.items()]
    return loaders


def measure(options, cores):
    """All phases of all loaders: {name: [phase of each round]}."""
    cpus = ",".join(str(cpu) for cpu in options.cpus[:cores])
    loaders = started(options, cpus)
    phases = {loader.name: [] for loader in loaders}
    try:
        for number in range(options.rounds):
            for loader in loaders:
                print(f"\r{cores} core(s), round {number + 1} of {options.rounds}: {loader.name:<20}", end="",
                      file=sys.stderr, flush=True)
                phases[loader.name].append(loader.measure(options.seconds))
        print(file=sys.stderr)
    finally:
        for loader in loaders:
            loader.close()
    return phases


def per_cpu_s(phase):
    return phase["images"] / phase["cpu_s"]


def per_wall_s(phase):
    return phase["images"] / phase["wall_s"]


def summary(phases, rate):
    """One row for each loader; `rate` of a phase is what ratios are of."""
    rows = {}
    for name, own in phases.items():
        ratios = {}
        for other in RATIOS:
            if other in phases:
                pairs = zip(own, phases[other])
                ratios[other] = statistics.median(rate(a) / rate(b) for a, b in pairs)
        rates = [per_cpu_s(phase) for phase in own]
        rows[name] = {
            "images_per_cpu_s": statistics.median(rates),
            "images_per_cpu_s_range": [min(rates), max(rates)],
            "images_per_wall_s": statistics.median(map(per_wall_s, own)),
            "cores_used": statistics.median(phase["cpu_s"] / phase["wall_s"] for phase in own),
            "peak_rss_mb": max(phase["peak_rss_bytes"] for phase in own) / 1e6,
            "ratios": ratios,
        }
    return rows


def show(rows, cores, ratios_of):
    others = next(iter(rows.values()))["ratios"]
    print(f"\n{cores} core(s), {cores} worker(s); ratios (x) of {ratios_of}\n")
    heads = ["images per CPU s", "lowest - highest", "images per s", "cores used", "peak MB"]
    heads += [f"x {other}" for other in others]
    print("| loader | " + " | ".join(heads) + " |")
    print("|---|" + "---|" * len(heads))
    for name, row in rows.items():
        low, high = row["images_per_cpu_s_range"]
        cells = [f"{row['images_per_cpu_s']:.0f}", f"{low:.0f} - {high:.0f}", f"{row['images_per_wall_s']:.0f}",
                 f"{row['cores_used']:.2f}", f"{row['peak_rss_mb']:.0f}"]
        cells += [f"{row['ratios'][other]:.2f}" for other in others]
        print(f"| {name} | " + " | ".join(cells) + " |")


def show_scaling(results):
    """How much more two cores make than one, by the clock: of use only where nothing else runs."""
    one, two = results.get("1"), results.get("2")
    if one and two:
        print("\nTwo cores over one, images per second:", end=" ")
        both = [name for name in one if name in two]
        print(", ".join(f"{name} {two[name]['images_per_wall_s'] / one[name]['images_per_wall_s']:.2f}"
                        for name in both))


def host(options):
    def output(*command):
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        return result.stdout.strip()

    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
               platform.machine())
    wanted = ["torch", "torchvision", "pillow", "nvidia-dali-cuda120", "ffcv", "webdataset", "numpy", "numba"]
    freeze = output(str(options.venv / "bin/pip"), "list", "--format=freeze").splitlines()
    return {
        "cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(), "load_before": os.getloadavg(),
        "peers": [line for line in freeze if line.split("==")[0].lower() in wanted],
        "commit": output("git", "describe", "--always", "--dirty"),
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["run.py", *(text.replace(str(options.data.parent), "...") for text in sys.argv[1:])]),
    }


def prepare(options):
    """Builds our side and writes the files that peers need."""
    options.files.mkdir(parents=True, exist_ok=True)
    if not options.binary:
        subprocess.run(["nice", "cargo", "build", "--release", "-q", "-p", "footplate-data", "--example",
                        "loader_bench"], cwd=ROOT, check=True)
        target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        options.binary = target / "release/examples/loader_bench"
    mark = options.files / "files-of.txt"
    if mark.exists() and mark.read_text() != str(options.data):
        sys.exit(f"{options.files} holds the files of {mark.read_text()}: name another folder with --files")
    if not mark.exists():
        subprocess.run([options.venv / "bin/python", HERE / "peers.py", "write-files", "--data", options.data,
                        "--files", options.files], cwd="/", check=True, stderr=subprocess.DEVNULL)
        mark.write_text(str(options.data))
    for path in throttle.files_below([options.data]):
        path.read_bytes()


def named(text):
    name, _, arguments = text.partition("=")
    if not arguments:
        raise argparse.ArgumentTypeError("NAME=ARGUMENTS")
    return name, arguments


def card(text):
    megabytes, _, iops = text.partition(":")
    return float(megabytes), int(iops or 0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("data", type=lambda text: pathlib.Path(text).resolve(), help="a folder with a folder of JPEGs for each class")
    add("--quick", action="store_true", help="the main peers, one core, 3 rounds of 2.5 s")
    add("--peers", type=lambda text: text.split(","), help=f"of {','.join(ALL_PEERS)}; 'none'")
    add("--footplate", type=named, action="append", metavar="NAME=ARGUMENTS", default=[],
        help="one variant of ours by arguments of the example loader_bench; {data} and {files} are filled in; "
             "repeatable; the default is " + ", ".join(f"'{n}={a}'" for n, a in OURS.items()))
    add("--packed", type=pathlib.Path, help="our shards of the same data (made by `footplate pack`), measured too")
    add("--slow", type=card, metavar="MB/s[:IOPS]",
        help="cold reads from such a card (root; slow_source/throttle.py): 94:1500, 10; look at images per s")
    add("--cores", type=lambda text: [int(n) for n in text.split(",")], help="default 1,2")
    add("--rounds", type=int, help="default 5")
    add("--seconds", type=float, help="of a loader in a round; default 6")
    add("--batch", type=int, default=32)
    add("--venv", type=pathlib.Path, default=pathlib.Path("/tmp/loader-venv"))
    add("--files", type=pathlib.Path, default=pathlib.Path("/tmp/loader-bench"), help="where peers' files are")
    add("--binary", type=pathlib.Path, help="a built example loader_bench; built if not given")
    add("--json", type=pathlib.Path, help="where all figures go")
    options = parser.parse_args()
    quick = options.quick
    options.peers = options.peers or (QUICK_PEERS if quick else ALL_PEERS)
    options.peers = [] if options.peers == ["none"] else options.peers
    options.cores = options.cores or ([1] if quick else [1, 2])
    options.rounds = options.rounds or (3 if quick else 5)
    options.seconds = options.seconds or (2.5 if quick else 6)
    options.footplate = dict(options.footplate or OURS)
    if options.packed:
        packed = shlex.quote(str(options.packed.resolve()))
        options.footplate |= {"footplate-packed": packed, "footplate-packed-u8": f"{packed} --layout u8"}
    options.enter = None
    options.cpus = sorted(os.sched_getaffinity(0))
    if max(options.cores) > len(options.cpus):
        sys.exit(f"{max(options.cores)} cores are not there")
    return options


def save(path, whole):
    if path:
        whole["host"]["load_after"] = os.getloadavg()
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps(whole, indent=1) + "\n")
        unfinished.rename(path)


@contextlib.contextmanager
def storage(options):
    """Slow and never cached, if that is wanted."""
    if not options.slow:
        yield
        return
    megabytes, iops = options.slow
    limit = throttle.Throttle(options.data, megabytes * 1e6, iops)
    options.enter = limit.enter
    paths = [options.data, options.files] + ([options.packed] if options.packed else [])
    try:
        with throttle.Cold(paths):
            yield
    finally:
        limit.close()


def main():
    options = arguments()
    prepare(options)
    about = host(options)
    phases, results = {}, {}
    with storage(options):
        for cores in options.cores:
            phases[str(cores)] = measure(options, cores)
            results[str(cores)] = summary(phases[str(cores)], per_wall_s if options.slow else per_cpu_s)
            save(options.json, {"format": 1, "host": about, "results": results, "phases": phases})
            show(results[str(cores)], cores, "images per s" if options.slow else "images per CPU s")
    show_scaling(results)
    load = " ".join(f"{value:.1f}" for value in about["load_before"])
    print(f"\n{about['cpu']}, {about['cores']} cores, load before {load}; commit {about['commit']}; "
          f"{about['when']}; {', '.join(about['peers'])}")


if __name__ == "__main__":
    main()
