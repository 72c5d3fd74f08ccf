"""Beside other detectors: CPU time and memory of a film, file to boxes, each in a process of its own on the same films.

    OMP_NUM_THREADS=1 PYTHONPATH=PEERS python benchmarks/peers.py FOLDER --films 12

PEERS is a folder with the others, which this library never needs:
``pip install --no-deps --target PEERS ultralytics ultralytics-thop monai``. Their weights are random, which costs the
same time apart from what suppression of boxes takes. Films are read in turns, so that other load on the machine meets
all of them alike; the first film is not timed.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDE = 640  # of the peers, pixels
Predict = Callable[[str], Any]


def ours(engine: str) -> Predict:
    import fracture

    return fracture.load(device="cpu", precision="float32", engine=engine).predict  # type: ignore[arg-type]


def torchvision() -> Predict:
    import torch
    from PIL import Image
    from torchvision.models.detection import retinanet_resnet50_fpn
    from torchvision.transforms.functional import to_tensor

    model = retinanet_resnet50_fpn(weights=None, weights_backbone=None, min_size=SIDE, max_size=SIDE).eval()

    def predict(path: str) -> Any:
        with torch.inference_mode():
            return model([to_tensor(Image.open(path).convert("RGB"))])

    return predict


def yolo(name: str) -> Predict:
    from ultralytics import YOLO

    model = YOLO(f"{name}.yaml", verbose=False)
    return lambda path: model.predict(path, imgsz=SIDE, device="cpu", verbose=False, save=False)


def monai() -> Predict:
    import cv2
    import numpy as np
    import torch
    from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
    from monai.apps.detection.networks.retinanet_network import RetinaNet, resnet_fpn_feature_extractor
    from monai.apps.detection.utils.anchor_utils import AnchorGeneratorWithAnchorShape
    from monai.networks.nets.resnet import resnet50

    backbone = resnet_fpn_feature_extractor(
        backbone=resnet50(spatial_dims=2, n_input_channels=1),
        spatial_dims=2,
        pretrained_backbone=False,
        trainable_backbone_layers=None,
        returned_layers=[1, 2, 3],
    )
    anchors = AnchorGeneratorWithAnchorShape(
        feature_map_scales=(1, 2, 4, 8), base_anchor_shapes=((32, 32), (32, 64), (64, 32))
    )
    network = RetinaNet(
        spatial_dims=2, num_classes=1, num_anchors=3, feature_extractor=backbone, size_divisible=(32, 32)
    )
    detector = RetinaNetDetector(network, anchors).eval()

    def predict(path: str) -> Any:
        film = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
        scale = SIDE / max(film.shape)
        film = cv2.resize(film, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        with torch.inference_mode():
            return detector([torch.from_numpy(film.astype(np.float32) / 255)[None]])

    return predict


CANDIDATES: dict[str, Callable[[], Predict]] = {
    "fracture, torch": lambda: ours("torch"),
    "fracture, openvino": lambda: ours("openvino"),
    "torchvision RetinaNet R50 FPN": torchvision,
    "MONAI RetinaNet R50 FPN": monai,
    "ultralytics yolov8n": lambda: yolo("yolov8n"),
    "ultralytics yolov8s": lambda: yolo("yolov8s"),
    "ultralytics yolo11m": lambda: yolo("yolo11m"),
}


def serve(name: str) -> None:
    """A candidate in its process: a path on each line in, CPU seconds and memory out."""
    import torch

    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr
    predict = CANDIDATES[name]()
    for line in sys.stdin:
        begun = time.process_time()
        predict(line.rstrip("\n"))
        spent = time.process_time() - begun
        print(json.dumps([spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]), file=answers, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="JPEG files, in any depth")
    parser.add_argument("--films", type=int, default=12)
    parser.add_argument("--only", nargs="*", default=list(CANDIDATES), choices=list(CANDIDATES))
    parser.add_argument("--serve", choices=list(CANDIDATES), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve)
        return
    paths = [str(path) for path in random.Random(0).sample(sorted(asked.folder.rglob("*.jpg")), asked.films + 1)]
    command = [sys.executable, __file__, str(asked.folder), "--serve"]
    running = {
        name: subprocess.Popen([*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in asked.only
    }
    spent: dict[str, list[float]] = {name: [] for name in running}
    memory: dict[str, float] = {}
    for number, path in enumerate(paths):
        for name, process in running.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(path + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:
                raise SystemExit(f"{name} ended with {process.wait()}")
            seconds, memory[name] = json.loads(answer)
            if number:
                spent[name].append(seconds)
    for process in running.values():
        process.communicate()
    least = statistics.median(spent[asked.only[0]])
    print(f"{asked.films} films, one thread, float32; ratio to {asked.only[0]}")
    for name, seconds in spent.items():
        middle = statistics.median(seconds)
        print(f"{name}: {middle:.3f} s, {1 / middle:.2f} films/s, ratio {middle / least:.2f}, {memory[name]:.0f} MiB")


if __name__ == "__main__":
    main()
