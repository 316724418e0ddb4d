"""What a model says of videos: captions, answers, choices, segments, steps."""
