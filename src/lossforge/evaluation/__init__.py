"""From a request in plain text to a result in plain numbers, here or in worker processes."""
