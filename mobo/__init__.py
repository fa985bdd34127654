"""Which network should we try next, and how does the picked one leave?"""
