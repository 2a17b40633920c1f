"""Published models that rdmf is compared with, in our own code, each exact against its authors'."""
