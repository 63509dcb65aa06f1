"""What functions share."""

import gc

# What a cold start loads stays, some hundred thousand objects: to look through them for garbage every 700 takes a tenth of its time.
gc.set_threshold(100_000)
