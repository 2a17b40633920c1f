"""Video files to frames, in processes that may hang or crash without harm."""
