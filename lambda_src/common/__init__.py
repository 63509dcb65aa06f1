"""Code that the functions share."""

import gc

# The hundred thousands of objects that a cold start loads stay alive: collecting garbage every 700 allocations takes 10 % of its time.
gc.set_threshold(100_000)
