"""Media → frames: hostile bytes are judged, decoded and reduced here, inside a decode worker.

image.py is the way in: sniff.py names the type, jpeg.py, png.py and containers.py read headers within limits.py before
any decoder does, raster.py makes pixels of every colour mode, frame.py is what comes out. sandbox.py keeps the
workers that this runs in, process.py is one of them as the server sees it, protocol.py what the two say to each other,
walls.py fences them, worker.py is their main.
"""
