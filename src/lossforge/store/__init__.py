"""The run folder: ledger, checkpoint, hall of fame."""
