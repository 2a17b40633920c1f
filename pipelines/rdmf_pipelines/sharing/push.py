"""Sharing a cache: checked, with a card, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from rdmf.store import open_cache
from rdmf_pipelines.sharing.bundle import CARD, CHECKSUMS, LISTING, Bundle, bundle_of, read_bundle
from rdmf_pipelines.sharing.card import card
from rdmf_pipelines.sharing.place import Place


def push(cache: Path, place: Place, *, licence: str | None = None) -> Bundle:
    """Gives a place a cache with its parts, its card and its checksums, in the stead of one that was shared there.

    Raises:
        InputError: no cache, a damaged one, an index whose parts lie outside its folder, or the place's own refusal.
    """
    with open_cache(cache) as opened:
        bundle, sources = bundle_of(opened)
    before = place.read(LISTING)
    listed = {file.path for file in read_bundle(before, place.name).files} if before is not None else set()
    texts = {
        LISTING: bundle.listing(),
        CHECKSUMS: bundle.checksums(),
        CARD: card(cache, bundle, target=place.card_name, licence=licence).encode(),
    }
    files = {file: sources[file.path] for file in bundle.files}
    place.put(files, texts, sorted(listed - sources.keys()))
    return bundle
