"""One peer loader as a resident process, for run.py: `peers.py NAME --data FOLDER --files WORK --workers N --batch B`.

Each line "go SECONDS" on standard input is answered by one line of JSON: {images, wall_s, cpu_s, peak_rss_bytes, pss_bytes}.
Before each phase some minibatches are taken and not counted, and the stream goes on after it: what was loaded ahead
counts neither for nor against the peer. An epoch here is very long (the data many times over, shuffled each
time), so that no peer pays for the ends of epochs of a small data set.
CPU time and memory are of the whole tree of processes.
"""

import argparse
import json
import os
import pathlib
import sys
import time

MEAN = [0.485, 0.456, 0.406]
STD = [0.229, 0.224, 0.225]
SIZE = 224
SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
PASSES = 2000
WARMUP_BATCHES = 12
TICK = os.sysconf("SC_CLK_TCK")


# ---- What the peers do. Each function gives an endless iterator of batches. ----

def image_files(data):
    """Paths and labels, the folders in order."""
    import torchvision
    folder = torchvision.datasets.ImageFolder(data)
    return folder.samples


class ManyPasses:
    """A sampler: the numbers below n, shuffled anew PASSES times."""

    def __init__(self, n):
        self.n = n

    def __iter__(self):
        import torch
        for _ in range(PASSES):
            yield from torch.randperm(self.n).tolist()

    def __len__(self):
        return self.n * PASSES


def torch_loader(dataset, count, options):
    import torch
    return iter(torch.utils.data.DataLoader(
        dataset, batch_size=options.batch, sampler=ManyPasses(count), num_workers=options.workers,
        drop_last=True))


def pillow_transform():
    from torchvision import transforms as t
    return t.Compose([t.RandomResizedCrop(SIZE, SCALE, RATIO), t.RandomHorizontalFlip(), t.ToTensor(),
                      t.Normalize(MEAN, STD)])


def torch_pillow(options):
    """The reference: ImageFolder, torchvision's transforms on Pillow images."""
    import torchvision
    dataset = torchvision.datasets.ImageFolder(options.data, pillow_transform())
    return torch_loader(dataset, len(dataset), options)


def torch_pillow_in_process(options):
    """The same without worker processes: no batch crosses to another process."""
    options.workers = 0
    return torch_pillow(options)


def torch_decode_jpeg(options):
    """torchvision.io's decoder and tensors."""
    import torch
    import torchvision
    from torchvision.transforms import v2

    transform = v2.Compose([v2.RandomResizedCrop(SIZE, SCALE, RATIO, antialias=True), v2.RandomHorizontalFlip(),
                            v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    rgb = torchvision.io.ImageReadMode.RGB

    def load(path):
        return torchvision.io.decode_jpeg(torchvision.io.read_file(path), mode=rgb)

    dataset = torchvision.datasets.ImageFolder(options.data, transform, loader=load)
    return torch_loader(dataset, len(dataset), options)


def web_dataset(options):
    import webdataset
    shards = sorted(str(p) for p in (options.files / "tar").glob("*.tar"))
    transform = pillow_transform()
    dataset = (webdataset.WebDataset(shards, resampled=True, shardshuffle=False).shuffle(200).decode("pil")
               .to_tuple("jpg", "cls").map_tuple(transform, lambda label: label)
               .batched(options.batch, partial=False))
    return iter(webdataset.WebLoader(dataset, batch_size=None, num_workers=options.workers))


def dali(options, antialias):
    """The CPU operators: decoding of the region of interest, resize, crop_mirror_normalize."""
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=options.batch, num_threads=options.workers, device_id=None, seed=1)
    def pipeline():
        encoded, label = fn.readers.file(file_root=options.data, random_shuffle=True, name="reader",
                                         dont_use_mmap=options.cold)
        images = fn.decoders.image_random_crop(encoded, device="cpu", output_type=types.RGB,
                                               random_area=list(SCALE), random_aspect_ratio=list(RATIO))
        images = fn.resize(images, size=[SIZE, SIZE], interp_type=types.INTERP_LINEAR, antialias=antialias)
        images = fn.crop_mirror_normalize(images, dtype=types.FLOAT, output_layout="CHW",
                                          mean=[m * 255 for m in MEAN], std=[s * 255 for s in STD],
                                          mirror=fn.random.coin_flip())
        return images, label

    pipe = pipeline()
    pipe.build()

    def batches():
        while True:
            yield pipe.run()
    return batches()


def ffcv(options, file, float32=True):
    import numpy
    from ffcv.fields.basics import IntDecoder
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, Squeeze, ToTensor, ToTorchImage

    image = [RandomResizedCropRGBImageDecoder((SIZE, SIZE), SCALE, RATIO), RandomHorizontalFlip()]
    if float32:
        mean, std = numpy.array(MEAN) * 255, numpy.array(STD) * 255
        # Its own form of NCHW: the tensor's shape is NCHW, its memory is channels-last, which is cheaper for it.
        image += [NormalizeImage(mean, std, numpy.float32)]
    image += [ToTensor(), ToTorchImage()]
    path = options.files / file
    count = len(image_files(options.data))
    passes = 1 if options.cold else max(1, PASSES * 350 // max(count, 350) // 4)
    # Mapped files stay in the page cache: the other mode is its own for data larger than memory, and takes each sample
    # once.
    order = OrderOption.QUASI_RANDOM if options.cold else OrderOption.RANDOM
    loader = Loader(str(path), batch_size=options.batch, num_workers=options.workers, order=order,
                    os_cache=not options.cold, drop_last=True, indices=numpy.tile(numpy.arange(count), passes),
                    pipelines={"image": image, "label": [IntDecoder(), ToTensor(), Squeeze()]})

    def batches():
        while True:
            yield from loader
    return batches()


PEERS = {
    "torch-pillow": torch_pillow,
    "torch-pillow-w0": torch_pillow_in_process,
    "torch-decode-jpeg": torch_decode_jpeg,
    "webdataset": web_dataset,
    "dali": lambda options: dali(options, antialias=False),
    "dali-antialias": lambda options: dali(options, antialias=True),
    "ffcv-jpeg": lambda options: ffcv(options, "jpeg.beton"),
    "ffcv-jpeg-q90": lambda options: ffcv(options, "q90.beton"),
    "ffcv-raw": lambda options: ffcv(options, "raw.beton"),
    "ffcv-raw-u8": lambda options: ffcv(options, "raw.beton", float32=False),
}


# ---- The files that some of them need. ----

def write_files(options):
    """Writes what is not yet there: FFCV's files with the JPEG bytes as they are, encoded again, and raw; tars."""
    options.files.mkdir(parents=True, exist_ok=True)
    samples = image_files(options.data)
    write_tars(options.files / "tar", samples)
    try:
        import ffcv.fields
    except ImportError as error:
        print(f"no files for FFCV: {error}", file=sys.stderr)
        return
    import numpy
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter
    from PIL import Image

    encode_picture = RGBImageField.encode

    def keep_jpeg(destination, path, malloc):
        """A JPEG file's bytes as they are; what is no RGB JPEG is encoded again, as FFCV would."""
        with Image.open(path) as image:
            if image.format != "JPEG" or image.mode != "RGB":
                return encode_picture(RGBImageField("jpg"), destination, image.convert("RGB"), malloc)
            width, height = image.size
        data = numpy.fromfile(path, numpy.uint8)
        destination["mode"] = 0
        destination["height"], destination["width"] = height, width
        destination["data_ptr"], storage = malloc(len(data))
        storage[:] = data

    class Pictures:
        def __init__(self, decode):
            self.decode = decode

        def __len__(self):
            return len(samples)

        def __getitem__(self, index):
            path, label = samples[index]
            return (Image.open(path).convert("RGB") if self.decode else path), label

    as_it_is = RGBImageField("jpg")
    as_it_is.encode = keep_jpeg
    sizes = (Image.open(path).size for path, _ in samples)
    largest = max(width * height * 3 for width, height in sizes)
    # Its writer hangs on a sample that is larger than a page.
    page = max(8 << 20, 1 << (largest - 1).bit_length())
    kinds = {"jpeg.beton": (as_it_is, False), "raw.beton": (RGBImageField("raw"), True),
             "q90.beton": (RGBImageField("jpg", jpeg_quality=90), True)}
    for name, (field, decode) in kinds.items():
        path = options.files / name
        if not path.exists():
            unfinished = path.with_suffix(".part")
            writer = DatasetWriter(str(unfinished), {"image": field, "label": IntField()}, page_size=page,
                                   num_workers=1)
            writer.from_indexed_dataset(Pictures(decode), chunksize=32)
            unfinished.rename(path)


def write_tars(folder, samples):
    """Shards in WebDataset's convention, the samples shuffled."""
    import io
    import random
    import tarfile
    if folder.exists():
        return
    unfinished = folder.with_suffix(".part")
    unfinished.mkdir(exist_ok=True)
    samples = list(samples)
    random.Random(1).shuffle(samples)
    shards = 8
    for shard in range(shards):
        with tarfile.open(unfinished / f"{shard:05}.tar", "w") as tar:
            for number, (path, label) in enumerate(samples[shard::shards]):
                with open(path, "rb") as file:
                    picture = file.read()
                for extension, data in [("jpg", picture), ("cls", str(label).encode())]:
                    entry = tarfile.TarInfo(f"{shard:02}{number:08}.{extension}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
    unfinished.rename(folder)


# ---- Measuring. ----

def tree():
    """This process and all below it."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [os.getpid()]
    for pid in found:
        found += parents.get(pid, [])
    return found


def cpu_seconds(pids):
    """User and system time; of a process that has ended, its parent's account of it."""
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def kilobytes(pids, file, key):
    total = 0
    for pid in pids:
        text = pathlib.Path(f"/proc/{pid}/{file}").read_text()
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith(key))
    return total * 1024


def check(batch, name, size):
    """That a peer does the work that it is measured for."""
    import numpy
    first = batch[0]
    pixels = numpy.asarray(first.as_tensor() if hasattr(first, "as_tensor") else first)
    assert pixels.shape == (size, 3, SIZE, SIZE), pixels.shape
    if not name.endswith("-u8"):
        assert pixels.dtype == numpy.float32, pixels.dtype
        # Photographs, normalised with ImageNet's figures.
        assert abs(pixels.mean()) < 1 and 0.5 < pixels.std() < 2, (pixels.mean(), pixels.std())


def phase(stream, seconds, batch):
    for _ in range(WARMUP_BATCHES):
        next(stream)
    pids = tree()
    cpu, begun, images = cpu_seconds(pids), time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        next(stream)
        images += batch
    wall = time.monotonic() - begun
    return {"images": images, "wall_s": wall, "cpu_s": cpu_seconds(pids) - cpu,
            "peak_rss_bytes": kilobytes(pids, "status", "VmHWM:"),
            "pss_bytes": kilobytes(pids, "smaps_rollup", "Pss:")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=[*PEERS, "write-files"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--files", type=pathlib.Path, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--cold", action="store_true", help="for data that the page cache must not serve")
    options = parser.parse_args()
    if options.name == "write-files":
        return write_files(options)
    # Peers print as they like; only our answers go to the real standard output.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    stream = PEERS[options.name](options)
    for _ in range(WARMUP_BATCHES):
        batch = next(stream)
    check(batch, options.name, options.batch)
    print(json.dumps({"ready": options.name}), file=answers, flush=True)
    for line in sys.stdin:
        seconds = float(line.split()[1])
        print(json.dumps(phase(stream, seconds, options.batch)), file=answers, flush=True)
    # Worker threads and processes of peers end with this process, some only after long waits otherwise.
    os._exit(0)


if __name__ == "__main__":
    main()
