"""Stage two: loading, tuning and decoding a language model. The only home of torch and its relatives."""

import logging

# bitsandbytes reports at import that it lacks a kernel for 4 bit on a CPU (its other way gives the same numbers), and
# at every pass of every 8 bit layer that it casts what it always casts.
for _name in ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions"):
    logging.getLogger(_name).setLevel(logging.ERROR)
