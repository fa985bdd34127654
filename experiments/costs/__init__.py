"""How wrong are the cost models?"""
