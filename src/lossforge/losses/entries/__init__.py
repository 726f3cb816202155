"""The entries of the library, one group a file; `lossforge.losses.library` looks them up by name."""
