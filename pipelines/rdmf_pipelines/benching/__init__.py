"""What `rdmf bench` measures, and how its figures are kept, shown and compared."""
