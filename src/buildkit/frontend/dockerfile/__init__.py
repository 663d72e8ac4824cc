"""The Dockerfile frontend: text to build definitions.

``parser`` cuts the text into nodes, ``grammar`` makes instructions of them, ``convert`` turns those into LLB and
``build`` is the frontend around it. Text that is not valid UTF-8 is carried as surrogate escapes.
"""
