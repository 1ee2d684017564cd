"""Stage two: loading, tuning and decoding a language model. The only home of torch and its relatives."""

import logging
import os

# bitsandbytes reports at import that it lacks a kernel for 4 bit on a CPU (its other way gives the same numbers), and
# at every pass of every 8 bit layer that it casts what it always casts.
for _name in ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions"):
    logging.getLogger(_name).setLevel(logging.ERROR)

# oneDNN keeps its last 1,024 kernels, each for products of one size only, and every batch has sizes of its own: a long
# training fills gigabytes. A step needs about 40 of them in each layer; read at the first product.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
