"""From a request in plain text to a result in plain numbers."""
