"""The demo's videos: planned as data (vocabulary, scenes), drawn (draw, backgrounds, weather), written (render), reported (report)."""
