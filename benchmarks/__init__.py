"""Speed and memory of stn_scratch beside PyTorch's: `python -m benchmarks --help`."""
