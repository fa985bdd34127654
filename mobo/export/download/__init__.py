"""The network in few bytes, for sending it to a device."""
