"""Images for Cortex-M: toolchains, linked files, emulated cores."""
