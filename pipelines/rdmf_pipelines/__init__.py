"""The command line and the dataset recipes: what ties the extractor and the trainer together."""
