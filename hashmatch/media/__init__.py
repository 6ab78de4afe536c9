"""Media → frames: hostile bytes are judged, decoded and reduced here, inside a decode worker.

image.py is the way in: sniff.py names the type, jpeg.py, png.py and containers.py read headers within limits.py before
any decoder does, raster.py makes pixels of every colour mode, frame.py is what comes out. view.py draws a small picture
of a frame for a person to look at, levels.py says how much it shows.

sandbox.py gives work to the workers that this runs in, pool.py keeps them, waiting.py who waits for one; process.py is
one of them as the server sees it, protocol.py what the two say to each other, viewed.py what of that may be shown;
walls.py fences them, worker.py is their main.
"""
