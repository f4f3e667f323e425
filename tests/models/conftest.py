import sys
from pathlib import Path

# The demonstration model's scripts live in a folder of their own, which is no package of the platform.
sys.path.insert(0, str(Path(__file__).parents[2] / "models" / "parley-demo"))
