"""Feature caches that people already have, one array file a video, brought into one cache of ours."""
