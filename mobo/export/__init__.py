"""From a finished trial to files an embedded engineer can build; see README.md in this folder."""
