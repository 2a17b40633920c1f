"""rdmf: find the moments in a video that a sentence describes.

This package is the trainer's side: the feature cache (`rdmf.store`), the model, training and evaluation. It imports
no video decoder and no encoder; those live in `rdmf_extract`.
"""

__version__ = "0.1.0"
