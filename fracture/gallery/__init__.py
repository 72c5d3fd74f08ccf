"""What a run over many films found, for people: one page to leaf through, and tables.

``fracture predict FOLDER --report OUT`` writes them; ``fracture.to_frame`` makes the table in Python.
"""
