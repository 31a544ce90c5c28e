"""Acoustic models as a session uses them: streams of frames, cut into segments."""
