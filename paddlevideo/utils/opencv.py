"""OpenCV, or the line that installs it: the modules of this package import ``cv2`` from here."""

from __future__ import annotations

import os

from paddlevideo.utils.errors import UserError

# A broken video is reported by us, in one line; FFmpeg's own words come on top of that.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
# By itself OpenCV takes a video for finished after 4,096 packets of sound without a frame, as while
# a slide is shown for two minutes.
os.environ.setdefault("OPENCV_FFMPEG_READ_ATTEMPTS", "10000000")

try:
    import cv2
except ModuleNotFoundError:
    raise UserError("this needs OpenCV: pip install opencv-python-headless") from None

__all__ = ["cv2"]
