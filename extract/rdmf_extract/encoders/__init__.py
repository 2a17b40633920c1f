"""Encoders of frames and of sentences, behind two small protocols and a registry of names.

Importing this package or its registry loads neither torch nor a model library; building an encoder does.
"""

from rdmf_extract.encoders.base import RandomWeightsWarning, TextEncoder, VideoEncoder
from rdmf_extract.encoders.registry import (
    TEXT_ENCODERS,
    VIDEO_ENCODERS,
    build_text_encoder,
    build_video_encoder,
    encoders_from_provenance,
)

__all__ = [
    "TEXT_ENCODERS",
    "VIDEO_ENCODERS",
    "RandomWeightsWarning",
    "TextEncoder",
    "VideoEncoder",
    "build_text_encoder",
    "build_video_encoder",
    "encoders_from_provenance",
]
