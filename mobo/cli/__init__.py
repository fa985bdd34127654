"""The commands: one short file each, which parses, calls the library, prints and returns a code."""
