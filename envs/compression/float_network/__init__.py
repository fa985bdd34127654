"""The float network read layer by layer: its interpreter, folded batch norms, its samples and purpose."""
