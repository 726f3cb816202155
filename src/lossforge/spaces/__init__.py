"""Search spaces: their schema, and reading, overriding, freezing and comparing them."""
