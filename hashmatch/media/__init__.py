"""Media → frames: hostile bytes are judged, decoded and reduced here, inside a decode worker.

image.py is the way in: sniff.py names the type, jpeg.py, png.py and containers.py read headers within limits.py before
any decoder does, raster.py makes pixels of every colour mode, frame.py is what comes out. sandbox.py starts the workers
that this runs in, walls.py fences them, worker.py is their main.
"""
