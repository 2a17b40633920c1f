"""Pages and pictures of `rdmf analyze`; the mathematics is in `rdmf.analysis`."""
