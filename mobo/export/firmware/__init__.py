"""Images for Cortex-M, and what runs them: toolchains, linked files, emulated cores, boards at the end of a cable."""
