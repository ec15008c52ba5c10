"""The commands of `python -m procfast`, one module each."""
