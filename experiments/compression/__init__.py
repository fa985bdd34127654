"""What does compression reach, and what does each part of it bring?"""
