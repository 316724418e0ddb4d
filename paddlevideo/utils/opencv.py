"""OpenCV with quiet settings; all modules of this package import ``cv2`` from here."""

from __future__ import annotations

import os

# A broken video is reported by this package, in one line; FFmpeg would add lines of its own.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
# By default OpenCV ends a video after 4,096 packets of sound without a frame, for example when a
# slide is shown for two minutes.
os.environ.setdefault("OPENCV_FFMPEG_READ_ATTEMPTS", "10000000")

import cv2  # noqa: E402 - after the settings

__all__ = ["cv2"]
