"""rdmf_extract: real video and sentences in, a feature cache out. It knows `rdmf.store` and nothing else of rdmf.

Importing this package, `rdmf_extract.sampling` or `rdmf_extract.decode` loads no torch: decoder processes start fast.
"""
