"""OpenCV, or the line that installs it: the one place of this package that names ``cv2``."""

from __future__ import annotations

import os

from paddlevideo.utils.errors import UserError

# A broken video is reported by us, in one line; FFmpeg's own words come on top of that.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")

try:
    import cv2
except ModuleNotFoundError:
    raise UserError("this needs OpenCV: pip install opencv-python-headless") from None

__all__ = ["cv2"]
