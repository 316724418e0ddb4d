"""What a model says of videos: captions, answers, segments, steps (``paddlevideo predict``)."""
