"""The network in integers: grids, quantisation, interpreters, files, coding."""
