"""Who trains: this process, local workers or Ray, all with one protocol."""
