"""Two methods, two results folders or two commits compared: what changed, and is it real?"""
