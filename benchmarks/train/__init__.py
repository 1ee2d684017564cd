"""The training, measured: what ours costs beside other programs that tune the same model on the same tweets."""
