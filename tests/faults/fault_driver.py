"""The real `rdmf`, with encoders that need no weights, small parts, and decoders that go wrong where asked to."""

from __future__ import annotations

import functools
import os
import sys

import fault_encoders

from rdmf_extract import collector, defaults, presence
from rdmf_extract.decode.worker import DecoderProcess
from rdmf_extract.encoders import registry
from rdmf_extract.engines import local
from rdmf_pipelines.cli import main

registry.build_video_encoder = fault_encoders.build_video_encoder
registry.build_text_encoder = fault_encoders.build_text_encoder
collector.PART_VIDEOS = 2
defaults.FRAMES_PER_BATCH = {"cpu": 2, "gpu": 2}  # a row
presence.BEAT_SECONDS = float(os.environ.get("RDMF_TEST_BEAT_SECONDS", presence.BEAT_SECONDS))
presence.STALE_SECONDS = float(os.environ.get("RDMF_TEST_STALE_SECONDS", presence.STALE_SECONDS))
if "RDMF_TEST_FAULTS" in os.environ:
    local.DecoderProcess = functools.partial(DecoderProcess, module="fault_decoder")
main(sys.argv[1:])
