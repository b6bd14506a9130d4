"""Ways of aligning a policy: how it is trained further, and on what."""
