"""Caches given to others: through a repository on the Hugging Face Hub, or through a folder that both can see.

What is shared is the cache with its parts, a card (`README.md`), `SHA256SUMS` for `sha256sum -c`, and
`rdmf-cache.json`, which says what belongs to it; see `bundle.py`.
"""

from __future__ import annotations
