"""The parts of ``societas.testing``: what it walks through and what it checks, one subject a file."""
