"""Stage one: from a file of labelled tweets to rows in three splits that do not leak."""
