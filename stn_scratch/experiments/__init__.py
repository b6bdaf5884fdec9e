"""The paper's tables: what is trained, how, and what came of it (`python -m stn_scratch experiments`)."""
