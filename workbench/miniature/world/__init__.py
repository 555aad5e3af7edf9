"""A small world to learn video from: coloured shapes that move, are hidden, grow, change colour, are panned over and cut.

Every clip is drawn from a split and a number, the same one on every machine, with a caption that says what is to be seen:

    scene = world.scene("test", 7)
    world.caption(scene)   # "a big red star moves slowly left in the forest"
    world.draw(scene)      # uint8 [17, 64, 64, 3]

Needs numpy only. A clip takes a few milliseconds.
"""

from workbench.miniature.world._caption import caption as caption
from workbench.miniature.world._caption import words as words
from workbench.miniature.world._draw import PALETTE as PALETTE
from workbench.miniature.world._draw import draw as draw
from workbench.miniature.world._scene import COLOURS as COLOURS
from workbench.miniature.world._scene import DIRECTIONS as DIRECTIONS
from workbench.miniature.world._scene import FRAMES as FRAMES
from workbench.miniature.world._scene import KINDS as KINDS
from workbench.miniature.world._scene import PLACES as PLACES
from workbench.miniature.world._scene import SHAPES as SHAPES
from workbench.miniature.world._scene import SIZE as SIZE
from workbench.miniature.world._scene import SPLITS as SPLITS
from workbench.miniature.world._scene import Scene as Scene
from workbench.miniature.world._scene import Shot as Shot
from workbench.miniature.world._scene import Thing as Thing
from workbench.miniature.world._scene import scene as scene
